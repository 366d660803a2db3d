import java.io.File;
import java.util.List;
import org.apache.activemq.broker.BrokerPlugin;
import org.apache.activemq.broker.BrokerService;
import org.apache.activemq.security.AuthenticationUser;
import org.apache.activemq.security.SimpleAuthenticationPlugin;

/** ActiveMQ Classic with an AMQP listener and one over TLS: user, password, folder, the two ports. */
public class Classic {
    public static void main(String[] arguments) throws Exception {
        String user = arguments[0], password = arguments[1], folder = arguments[2];
        BrokerService broker = new BrokerService();
        broker.setBrokerName("classic");
        broker.setDataDirectory(folder + File.separator + "data");
        broker.setUseJmx(false);
        broker.setSchedulerSupport(false);
        SimpleAuthenticationPlugin users =
            new SimpleAuthenticationPlugin(List.of(new AuthenticationUser(user, password, "admins")));
        users.setAnonymousAccessAllowed(false);
        broker.setPlugins(new BrokerPlugin[] {users});
        String options = "?maximumConnections=1000&wireFormat.maxFrameSize=104857600&transport.transformer=jms";
        broker.addConnector("amqp://127.0.0.1:" + arguments[3] + options);
        broker.addConnector("amqp+ssl://127.0.0.1:" + arguments[4] + options);
        broker.start();
        System.out.println("READY");
        broker.waitUntilStopped();
    }
}
