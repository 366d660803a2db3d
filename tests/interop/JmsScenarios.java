// What JMS programs do with a broker, on Qpid JMS. Prints "NAME ok" or "NAME failed: ..." for each scenario.
//
//   java -cp 'lib/*' JmsScenarios.java amqp://HOST:PORT [NAME ...]

import jakarta.jms.BytesMessage;
import jakarta.jms.Connection;
import jakarta.jms.DeliveryMode;
import jakarta.jms.Destination;
import jakarta.jms.InvalidClientIDException;
import jakarta.jms.InvalidDestinationException;
import jakarta.jms.InvalidSelectorException;
import jakarta.jms.JMSException;
import jakarta.jms.MapMessage;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.MessageProducer;
import jakarta.jms.Queue;
import jakarta.jms.QueueBrowser;
import jakarta.jms.Session;
import jakarta.jms.TemporaryQueue;
import jakarta.jms.TemporaryTopic;
import jakarta.jms.TextMessage;
import jakarta.jms.Topic;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.qpid.jms.JmsConnectionFactory;

public class JmsScenarios {
    static final long WAIT = 20_000;
    static final long NOTHING = 200;
    static JmsConnectionFactory factory;

    interface Scenario {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        factory = new JmsConnectionFactory(arguments[0]);
        List<String> wanted = Arrays.asList(arguments).subList(1, arguments.length);
        Map<String, Scenario> scenarios = new LinkedHashMap<>();
        scenarios.put("queue", JmsScenarios::queue);
        scenarios.put("types", JmsScenarios::types);
        scenarios.put("selectors", JmsScenarios::selectors);
        scenarios.put("browsers", JmsScenarios::browsers);
        scenarios.put("topics", JmsScenarios::topics);
        scenarios.put("durable", JmsScenarios::durable);
        scenarios.put("shared", JmsScenarios::shared);
        scenarios.put("sharedDurable", JmsScenarios::sharedDurable);
        scenarios.put("temporaryQueues", JmsScenarios::temporaryQueues);
        scenarios.put("temporaryTopics", JmsScenarios::temporaryTopics);
        scenarios.put("anonymousProducers", JmsScenarios::anonymousProducers);
        scenarios.put("redelivery", JmsScenarios::redelivery);
        scenarios.put("expiry", JmsScenarios::expiry);
        scenarios.put("clientIds", JmsScenarios::clientIds);
        for (Map.Entry<String, Scenario> entry : scenarios.entrySet()) {
            if (!wanted.isEmpty() && !wanted.contains(entry.getKey())) {
                continue;
            }
            String result = "ok";
            try {
                entry.getValue().run();
            } catch (Throwable problem) {
                StackTraceElement[] trace = problem.getStackTrace();
                String place = "";
                for (StackTraceElement element : trace) {
                    if (element.getClassName().startsWith("JmsScenarios")) {
                        place = " at line " + element.getLineNumber();
                        if (!element.getMethodName().startsWith("expect")) {
                            break;
                        }
                    }
                }
                result = "failed: " + problem.toString().replace('\n', ' ') + place;
            }
            System.out.println(entry.getKey() + " " + result);
        }
        System.exit(0);
    }

    // -- helpers

    static Connection connect(String clientId) throws JMSException {
        Connection connection = factory.createConnection();
        if (clientId != null) {
            connection.setClientID(clientId);
        }
        connection.start();
        return connection;
    }

    static Session session(Connection connection) throws JMSException {
        return connection.createSession(Session.AUTO_ACKNOWLEDGE);
    }

    static void send(Session session, Destination destination, String... texts) throws JMSException {
        MessageProducer producer = session.createProducer(destination);
        for (String text : texts) {
            producer.send(session.createTextMessage(text));
        }
        producer.close();
    }

    static TextMessage text(Session session, String text, String colour, int weight) throws JMSException {
        TextMessage message = session.createTextMessage(text);
        message.setStringProperty("colour", colour);
        message.setIntProperty("weight", weight);
        return message;
    }

    static String next(MessageConsumer consumer) throws JMSException {
        Message message = consumer.receive(WAIT);
        return message == null ? "nothing" : ((TextMessage) message).getText();
    }

    static List<String> rest(MessageConsumer consumer) throws JMSException {
        List<String> texts = new ArrayList<>();
        for (Message message; (message = consumer.receive(NOTHING)) != null;) {
            texts.add(((TextMessage) message).getText());
        }
        return texts;
    }

    static void expect(Object expected, Object found) {
        if (!expected.equals(found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    static void expectFailure(Class<? extends Exception> kind, Scenario scenario) throws Exception {
        try {
            scenario.run();
        } catch (Exception problem) {
            if (kind.isInstance(problem)) {
                return;
            }
            throw problem;
        }
        throw new AssertionError("expected " + kind.getSimpleName());
    }

    // -- scenarios

    static void queue() throws Exception {
        try (Connection connection = connect(null)) {
            Session session = session(connection);
            Queue queue = session.createQueue("jms.queue");
            send(session, queue, "a", "b", "c");
            MessageConsumer one = session.createConsumer(queue);
            expect("a", next(one));
            one.close(); // what it had prefetched goes back
            MessageConsumer two = session.createConsumer(queue);
            expect(List.of("b", "c"), List.of(next(two), next(two)));
            expect(List.of(), rest(two));
        }
    }

    static void types() throws Exception {
        try (Connection connection = connect(null)) {
            Session session = session(connection);
            Queue queue = session.createQueue("jms.types");
            MessageProducer producer = session.createProducer(queue);
            byte[] large = new byte[300_000];
            Arrays.fill(large, (byte) 7);
            BytesMessage bytes = session.createBytesMessage();
            bytes.writeBytes(large);
            producer.send(bytes);
            MapMessage map = session.createMapMessage();
            map.setInt("one", 1);
            map.setString("two", "zwei");
            producer.send(map, DeliveryMode.NON_PERSISTENT, 7, 0);
            MessageConsumer consumer = session.createConsumer(queue);
            BytesMessage gotBytes = (BytesMessage) consumer.receive(WAIT);
            expect((long) large.length, gotBytes.getBodyLength());
            MapMessage gotMap = (MapMessage) consumer.receive(WAIT);
            expect(1, gotMap.getInt("one"));
            expect("zwei", gotMap.getString("two"));
            expect(7, gotMap.getJMSPriority());
            expect(queue, gotMap.getJMSDestination());
        }
    }

    static void selectors() throws Exception {
        try (Connection connection = connect(null)) {
            Session session = session(connection);
            Queue queue = session.createQueue("jms.selectors");
            MessageProducer producer = session.createProducer(queue);
            producer.send(text(session, "1", "red", 1));
            producer.send(text(session, "2", "blue", 5));
            TextMessage third = text(session, "3", "red", 5);
            third.setJMSType("special");
            third.setJMSCorrelationID("it's");
            producer.send(third);
            producer.send(text(session, "4", "red", 9), DeliveryMode.NON_PERSISTENT, 9, 0);
            MessageConsumer heavy = session.createConsumer(queue, "colour = 'red' AND weight BETWEEN 4 AND 6");
            expect("3", next(heavy));
            expect(List.of(), rest(heavy));
            heavy.close();
            MessageConsumer urgent = session.createConsumer(queue, "JMSPriority > 4 AND JMSDeliveryMode = 'NON_PERSISTENT'");
            expect("4", next(urgent));
            urgent.close();
            String id = third.getJMSMessageID();
            producer.send(third);
            String mine = "JMSType = 'special' AND JMSCorrelationID = 'it''s' AND JMSMessageID <> '" + id + "'";
            MessageConsumer again = session.createConsumer(queue, mine);
            expect("3", next(again));
            again.close();
            MessageConsumer others = session.createConsumer(queue, "colour LIKE '%' AND NOT (unknown IS NOT NULL)");
            expect(List.of("1", "2"), List.of(next(others), next(others)));
            expectFailure(InvalidSelectorException.class, () -> session.createConsumer(queue, "colour ="));
        }
    }

    static void browsers() throws Exception {
        try (Connection connection = connect(null)) {
            Session session = session(connection);
            Queue queue = session.createQueue("jms.browsers");
            MessageProducer producer = session.createProducer(queue);
            for (int number = 0; number < 6; number++) {
                producer.send(text(session, "" + number, number % 2 == 0 ? "red" : "blue", number));
            }
            for (String selector : new String[] {null, "colour = 'blue'"}) {
                QueueBrowser browser = session.createBrowser(queue, selector);
                List<String> seen = new ArrayList<>();
                for (Object message : Collections.list(browser.getEnumeration())) {
                    seen.add(((TextMessage) message).getText());
                }
                expect(selector == null ? List.of("0", "1", "2", "3", "4", "5") : List.of("1", "3", "5"), seen);
                browser.close();
            }
            expect("0", next(session.createConsumer(queue)));
        }
    }

    static void topics() throws Exception {
        try (Connection connection = connect(null); Connection other = connect(null)) {
            Session session = session(connection);
            Topic topic = session.createTopic("jms.topics");
            MessageConsumer one = session.createConsumer(topic);
            MessageConsumer two = session(other).createConsumer(topic, null, false);
            MessageConsumer foreign = session.createConsumer(topic, null, true);
            MessageConsumer red = session.createConsumer(topic, "colour = 'red'");
            MessageProducer producer = session.createProducer(topic);
            producer.send(text(session, "r", "red", 1));
            producer.send(text(session, "b", "blue", 1));
            send(session(other), topic, "foreign");
            for (MessageConsumer consumer : List.of(one, two)) {
                expect(List.of("r", "b", "foreign"), List.of(next(consumer), next(consumer), next(consumer)));
            }
            expect("foreign", next(foreign));
            expect("r", next(red));
            expect(List.of(), rest(red));
            expect(List.of(), rest(foreign));
            Message message = session.createTextMessage("late");
            one.close();
            producer.send(message);
            expect("late", next(two));
            expect(topic, message.getJMSDestination());
        }
    }

    static void durable() throws Exception {
        try (Connection publishing = connect(null)) {
            Session publisher = session(publishing);
            Topic topic = publisher.createTopic("jms.durable");
            try (Connection connection = connect("jms.durable")) {
                MessageConsumer consumer = session(connection).createDurableConsumer(topic, "sub");
                send(publisher, topic, "a");
                expect("a", next(consumer));
            }
            send(publisher, topic, "b");
            try (Connection connection = connect("jms.durable")) {
                Session session = session(connection);
                MessageConsumer consumer = session.createDurableConsumer(topic, "sub");
                expect("b", next(consumer));
                expectFailure(JMSException.class, () -> session.unsubscribe("sub")); // in use
                consumer.close();
                send(publisher, topic, "c");
                MessageConsumer again = session.createDurableConsumer(topic, "sub", "colour = 'red'", false);
                expect(List.of(), rest(again)); // another selector is another subscription
                again.close();
                session.unsubscribe("sub");
                expectFailure(InvalidDestinationException.class, () -> session.unsubscribe("sub"));
                MessageConsumer fresh = session.createDurableConsumer(topic, "sub");
                expect(List.of(), rest(fresh));
            }
        }
    }

    static void shared() throws Exception {
        try (Connection connection = connect("jms.shared"); Connection publishing = connect(null)) {
            Session publisher = session(publishing);
            Topic topic = publisher.createTopic("jms.shared");
            MessageConsumer one = session(connection).createSharedConsumer(topic, "sub");
            MessageConsumer two = session(connection).createSharedConsumer(topic, "sub");
            MessageConsumer alone = session(connection).createConsumer(topic);
            send(publisher, topic, "a", "b", "c", "d");
            List<String> together = rest(one);
            together.addAll(rest(two));
            Collections.sort(together);
            expect(List.of("a", "b", "c", "d"), together);
            expect(List.of("a", "b", "c", "d"), rest(alone));
            one.close();
            two.close();
            send(publisher, topic, "lost");
            expect(List.of(), rest(session(connection).createSharedConsumer(topic, "sub")));
        }
    }

    static void sharedDurable() throws Exception {
        try (Connection first = connect(null); Connection second = connect(null); Connection publishing = connect(null)) {
            Session publisher = session(publishing);
            Topic topic = publisher.createTopic("jms.sharedDurable");
            MessageConsumer one = session(first).createSharedDurableConsumer(topic, "sub");
            MessageConsumer two = session(second).createSharedDurableConsumer(topic, "sub");
            MessageConsumer three = session(second).createSharedDurableConsumer(topic, "sub");
            send(publisher, topic, "a", "b", "c", "d", "e", "f");
            List<String> together = rest(one);
            together.addAll(rest(two));
            together.addAll(rest(three));
            Collections.sort(together);
            expect(List.of("a", "b", "c", "d", "e", "f"), together);
            one.close();
            two.close();
            three.close();
            send(publisher, topic, "kept");
            Session session = session(second);
            MessageConsumer later = session.createSharedDurableConsumer(topic, "sub");
            expect("kept", next(later));
            later.close();
            session.unsubscribe("sub");
            expectFailure(InvalidDestinationException.class, () -> session.unsubscribe("sub"));
        }
    }

    static void temporaryQueues() throws Exception {
        try (Connection asking = connect(null); Connection answering = connect(null)) {
            Session session = session(asking);
            Session service = session(answering);
            Queue queue = session.createQueue("jms.requests");
            TemporaryQueue replies = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(replies);
            TextMessage request = session.createTextMessage("question");
            request.setJMSReplyTo(replies);
            session.createProducer(queue).send(request);
            Message got = service.createConsumer(queue).receive(WAIT);
            send(service, got.getJMSReplyTo(), "answer");
            expect("answer", next(consumer));
            consumer.close();
            replies.delete();
            expectFailure(JMSException.class, () -> send(session, replies, "too late"));
        }
    }

    static void temporaryTopics() throws Exception {
        try (Connection connection = connect(null); Connection other = connect(null)) {
            Session session = session(connection);
            TemporaryTopic topic = session.createTemporaryTopic();
            MessageConsumer one = session.createConsumer(topic);
            MessageConsumer two = session.createConsumer(topic);
            TextMessage request = session.createTextMessage("question");
            request.setJMSReplyTo(topic);
            Queue queue = session.createQueue("jms.topicRequests");
            session.createProducer(queue).send(request);
            Session service = session(other);
            send(service, service.createConsumer(queue).receive(WAIT).getJMSReplyTo(), "answer");
            expect(List.of("answer", "answer"), List.of(next(one), next(two)));
        }
    }

    static void anonymousProducers() throws Exception {
        try (Connection connection = connect(null)) {
            Session session = session(connection);
            Queue queue = session.createQueue("jms.anonymous");
            Topic topic = session.createTopic("jms.anonymous");
            MessageConsumer fromQueue = session.createConsumer(queue);
            MessageConsumer fromTopic = session.createConsumer(topic);
            MessageProducer producer = session.createProducer(null);
            producer.send(queue, session.createTextMessage("for the queue"));
            producer.send(topic, session.createTextMessage("for the topic"));
            expect("for the queue", next(fromQueue));
            expect("for the topic", next(fromTopic));
            expect(List.of(), rest(fromQueue));
            expect(List.of(), rest(fromTopic));
        }
    }

    static void redelivery() throws Exception {
        try (Connection connection = connect(null)) {
            Session session = connection.createSession(Session.CLIENT_ACKNOWLEDGE);
            Queue queue = session.createQueue("jms.redelivery");
            send(session, queue, "x");
            MessageConsumer consumer = session.createConsumer(queue);
            Message first = consumer.receive(WAIT);
            expect(false, first.getJMSRedelivered());
            expect(1, first.getIntProperty("JMSXDeliveryCount"));
            session.recover();
            Message second = consumer.receive(WAIT);
            expect(true, second.getJMSRedelivered());
            expect(2, second.getIntProperty("JMSXDeliveryCount"));
        }
        try (Connection connection = connect(null)) {
            Session session = connection.createSession(Session.CLIENT_ACKNOWLEDGE);
            Message third = session.createConsumer(session.createQueue("jms.redelivery")).receive(WAIT);
            expect(true, third.getJMSRedelivered());
            third.acknowledge();
            expect(List.of(), rest(session.createConsumer(session.createQueue("jms.redelivery"))));
        }
    }

    static void expiry() throws Exception {
        try (Connection connection = connect(null)) {
            Session session = session(connection);
            Queue queue = session.createQueue("jms.expiry");
            MessageProducer producer = session.createProducer(queue);
            producer.send(session.createTextMessage("short-lived"), DeliveryMode.PERSISTENT, 4, 1);
            producer.send(session.createTextMessage("stays"));
            Thread.sleep(20);
            expect("stays", next(session.createConsumer(queue)));
        }
    }

    static void clientIds() throws Exception {
        try (Connection connection = connect("jms.exclusive")) {
            expectFailure(InvalidClientIDException.class, () -> connect("jms.exclusive").close());
        }
        connect("jms.exclusive").close();
    }
}
