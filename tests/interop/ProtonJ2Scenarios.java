// What programs on ProtonJ2 do with a broker. Prints "NAME ok" or "NAME failed: ..." for each scenario.
//
//   java -cp 'lib/*' ProtonJ2Scenarios.java HOST PORT

import java.io.InputStream;
import java.io.OutputStream;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.apache.qpid.protonj2.client.Client;
import org.apache.qpid.protonj2.client.ClientOptions;
import org.apache.qpid.protonj2.client.Connection;
import org.apache.qpid.protonj2.client.Delivery;
import org.apache.qpid.protonj2.client.DistributionMode;
import org.apache.qpid.protonj2.client.Message;
import org.apache.qpid.protonj2.client.Receiver;
import org.apache.qpid.protonj2.client.ReceiverOptions;
import org.apache.qpid.protonj2.client.Sender;
import org.apache.qpid.protonj2.client.SenderOptions;
import org.apache.qpid.protonj2.client.StreamDelivery;
import org.apache.qpid.protonj2.client.StreamReceiver;
import org.apache.qpid.protonj2.client.StreamSender;
import org.apache.qpid.protonj2.client.StreamSenderMessage;
import org.apache.qpid.protonj2.client.Tracker;
import org.apache.qpid.protonj2.types.UnsignedLong;

public class ProtonJ2Scenarios {
    static final long WAIT = 20;
    static final long SELECTOR = 0x0000468C00000004L;
    static Connection connection;

    interface Scenario {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        Client client = Client.create(new ClientOptions().id("protonj2"));
        connection = client.connect(arguments[0], Integer.parseInt(arguments[1]));
        Map<String, Scenario> scenarios = new LinkedHashMap<>();
        scenarios.put("queue", ProtonJ2Scenarios::queue);
        scenarios.put("selectors", ProtonJ2Scenarios::selectors);
        scenarios.put("browsers", ProtonJ2Scenarios::browsers);
        scenarios.put("dynamic", ProtonJ2Scenarios::dynamic);
        scenarios.put("topics", ProtonJ2Scenarios::topics);
        scenarios.put("durable", ProtonJ2Scenarios::durable);
        scenarios.put("drain", ProtonJ2Scenarios::drain);
        scenarios.put("large", ProtonJ2Scenarios::large);
        scenarios.put("outcomes", ProtonJ2Scenarios::outcomes);
        scenarios.put("anonymous", ProtonJ2Scenarios::anonymous);
        for (Map.Entry<String, Scenario> entry : scenarios.entrySet()) {
            String result = "ok";
            try {
                entry.getValue().run();
            } catch (Throwable problem) {
                result = "failed: " + problem.toString().replace('\n', ' ');
            }
            System.out.println(entry.getKey() + " " + result);
        }
        connection.close();
        System.exit(0);
    }

    static void expect(Object expected, Object found) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    static void send(Sender sender, Message<?> message) throws Exception {
        Tracker tracker = sender.send(message);
        tracker.awaitSettlement(WAIT, TimeUnit.SECONDS);
        expect(true, tracker.remoteState().isAccepted());
    }

    static Delivery next(Receiver receiver) throws Exception {
        Delivery delivery = receiver.receive(WAIT, TimeUnit.SECONDS);
        if (delivery == null) {
            throw new AssertionError("nothing came");
        }
        return delivery;
    }

    static void expectNext(String expected, Receiver receiver) throws Exception {
        expect(expected, next(receiver).message().body());
    }

    static void queue() throws Exception {
        Sender sender = connection.openSender("j2.queue");
        Receiver receiver = connection.openReceiver("j2.queue", new ReceiverOptions());
        for (int number = 0; number < 50; number++) {
            send(sender, Message.create("m" + number));
        }
        for (int number = 0; number < 50; number++) {
            expectNext("m" + number, receiver);
        }
        receiver.close();
        sender.close();
    }

    static void selectors() throws Exception {
        Sender sender = connection.openSender("j2.selectors");
        for (int number = 0; number < 10; number++) {
            send(sender, Message.create("m" + number).property("n", number));
        }
        ReceiverOptions options = new ReceiverOptions();
        options.sourceOptions().addFilter("selector", UnsignedLong.valueOf(SELECTOR), "n >= 7");
        Receiver receiver = connection.openReceiver("j2.selectors", options);
        for (int number = 7; number < 10; number++) {
            expectNext("m" + number, receiver);
        }
        expect(null, receiver.tryReceive());
        receiver.close();
    }

    static void browsers() throws Exception {
        send(connection.openSender("j2.browsers"), Message.create("stays"));
        for (int turn = 0; turn < 2; turn++) {
            ReceiverOptions options = new ReceiverOptions();
            options.sourceOptions().distributionMode(DistributionMode.COPY);
            Receiver receiver = connection.openReceiver("j2.browsers", options);
            expectNext("stays", receiver);
            receiver.close();
        }
    }

    static void dynamic() throws Exception {
        Receiver receiver = connection.openDynamicReceiver();
        send(connection.openSender(receiver.address()), Message.create("reply"));
        expectNext("reply", receiver);
        receiver.close();
    }

    static void topics() throws Exception {
        ReceiverOptions options = new ReceiverOptions();
        options.sourceOptions().capabilities("topic");
        Receiver one = connection.openReceiver("j2.topics", options);
        Receiver two = connection.openReceiver("j2.topics", options);
        one.openFuture().get(WAIT, TimeUnit.SECONDS);
        two.openFuture().get(WAIT, TimeUnit.SECONDS);
        SenderOptions senderOptions = new SenderOptions();
        senderOptions.targetOptions().capabilities("topic");
        send(connection.openSender("j2.topics", senderOptions), Message.create("for all"));
        expectNext("for all", one);
        expectNext("for all", two);
    }

    static void durable() throws Exception {
        Receiver receiver = connection.openDurableReceiver("/topics/j2.durable", "sub", new ReceiverOptions());
        receiver.openFuture().get(WAIT, TimeUnit.SECONDS);
        Sender sender = connection.openSender("/topics/j2.durable");
        send(sender, Message.create("one"));
        expectNext("one", receiver);
        receiver.detach();
        send(sender, Message.create("two"));
        receiver = connection.openDurableReceiver("/topics/j2.durable", "sub", new ReceiverOptions());
        expectNext("two", receiver);
        receiver.close();
    }

    static void drain() throws Exception {
        Receiver receiver = connection.openReceiver("j2.drain", new ReceiverOptions().creditWindow(0));
        receiver.addCredit(10);
        receiver.drain().get(WAIT, TimeUnit.SECONDS);
        receiver.close();
    }

    static void large() throws Exception {
        int parts = 30;
        byte[] part = new byte[100_000];
        StreamSender sender = connection.openStreamSender("j2.large");
        StreamSenderMessage message = sender.beginMessage();
        message.durable(true);
        OutputStream out = message.body();
        for (int number = 0; number < parts; number++) {
            out.write(part);
        }
        out.close();
        message.tracker().awaitSettlement(WAIT, TimeUnit.SECONDS);
        StreamReceiver receiver = connection.openStreamReceiver("j2.large");
        StreamDelivery delivery = receiver.receive(WAIT, TimeUnit.SECONDS);
        InputStream in = delivery.message().body();
        expect(parts * part.length, in.readAllBytes().length);
        delivery.accept();
    }

    static void outcomes() throws Exception {
        send(connection.openSender("j2.outcomes"), Message.create("x"));
        Receiver receiver = connection.openReceiver("j2.outcomes", new ReceiverOptions().autoAccept(false));
        next(receiver).modified(true, false);
        Delivery delivery = next(receiver);
        expect(1L, (long) delivery.message().deliveryCount());
        delivery.release();
        delivery = next(receiver);
        expect(1L, (long) delivery.message().deliveryCount());
        delivery.reject("a:b", "c");
        receiver.close();
        expectNext("x", connection.openReceiver("j2.outcomes.dlq", new ReceiverOptions()));
    }

    static void anonymous() throws Exception {
        send(connection.openAnonymousSender(), Message.create("where it says").to("j2.anonymous"));
        expectNext("where it says", connection.openReceiver("j2.anonymous", new ReceiverOptions()));
    }
}
