// A client on the npm package rhea that puts the embedded broker through one scenario, and prints what it saw as JSON.
//
//     NODE_PATH=<where rhea is installed> node rhea_client.js SCENARIO PORT [USER PASSWORD]
//
// The scenarios are the functions below; test_embedded_broker.py says what has to come of each.

'use strict';

const rhea = require('rhea');

const [scenario, port, username, password] = process.argv.slice(2);
const container = rhea.create_container({ id: 'rhea-client' });

function connect() {
    return container.connect({ host: '127.0.0.1', port: Number(port), username, password, reconnect: false });
}

function done(result, connection) {
    console.log(JSON.stringify(result));
    // rhea closes the connection without detaching its links first.
    connection.close();
}

function errorOf(context, what) {
    const error = context[what].error;
    return { condition: error.condition, description: error.description };
}

const scenarios = {
    // 500 messages there and back, in order, each with its outcome.
    bulk() {
        const connection = connect();
        const sender = connection.open_sender('bulk');
        let sent = 0;
        let accepted = 0;
        const received = [];
        container.on('sendable', () => {
            while (sent < 500 && sender.sendable()) sender.send({ message_id: sent, body: `text ${sent++}` });
        });
        container.on('accepted', () => {
            if (++accepted === 500) connection.open_receiver({ source: 'bulk', credit_window: 50 });
        });
        container.on('message', (context) => {
            received.push(context.message.message_id);
            if (received.length === 500) done({ accepted, received }, connection);
        });
    },

    // One message answered in turn with released, modified, rejected.
    outcomes() {
        const connection = connect();
        const counts = [];
        connection.open_sender('outcomes');
        container.once('sendable', (context) => context.sender.send({ body: 'x' }));
        connection.open_receiver({ source: 'outcomes', autoaccept: false, credit_window: 1 });
        container.on('message', (context) => {
            counts.push(context.message.delivery_count || 0);
            if (context.receiver.source.address.endsWith('.dlq')) {
                const annotations = context.message.message_annotations;
                context.delivery.accept();
                done({ counts, condition: annotations['x-opt-rejected-condition'] }, connection);
            } else if (counts.length === 1) context.delivery.release({ delivery_failed: false });
            else if (counts.length === 2) context.delivery.modified({ delivery_failed: true });
            else {
                context.delivery.reject({ condition: 'amqp:not-allowed', description: 'no' });
                connection.open_receiver({ source: 'outcomes.dlq', autoaccept: false });
            }
        });
    },

    // A drain with three messages there and credit for ten.
    drain() {
        const connection = connect();
        const received = [];
        connection.open_sender('drain');
        container.once('sendable', (context) => {
            for (const body of ['a', 'b', 'c']) context.sender.send({ body });
        });
        let accepted = 0;
        container.on('accepted', () => {
            if (++accepted < 3) return;
            const receiver = connection.open_receiver({ source: 'drain', credit_window: 0 });
            receiver.drain = true;
            receiver.add_credit(10);
        });
        container.on('message', (context) => received.push(context.message.body));
        container.on('receiver_drained', (context) => done({ received, credit: context.receiver.credit }, connection));
    },

    // A request to this very client, whose answer goes to a dynamic source.
    dynamic() {
        const connection = connect();
        const replies = connection.open_receiver({ source: { dynamic: true } });
        replies.on('receiver_open', () => {
            const sender = connection.open_sender({ target: {} });
            sender.once('sendable', () => sender.send({ to: replies.source.address, body: 'reply' }));
        });
        replies.on('message', (context) => done({ body: context.message.body }, connection));
    },

    // Takes messages, settles none, and goes.
    hoard() {
        const connection = connect();
        const received = [];
        connection.open_receiver({ source: 'hoard', autoaccept: false, autosettle: false, credit_window: 10 });
        container.on('message', (context) => {
            received.push(context.message.body);
            if (received.length === 5) done({ received }, connection);
        });
    },

    // Both kinds of link to an address that is refused.
    refused() {
        const connection = connect();
        const errors = [];
        const note = (what) => (context) => {
            errors.push(errorOf(context, what));
            if (errors.length === 2) done({ errors }, connection);
        };
        container.on('sender_error', note('sender'));
        container.on('receiver_error', note('receiver'));
        connection.open_sender({ name: 'out', target: 'refused' });
        connection.open_receiver({ name: 'in', source: 'refused' });
    },

    // More messages than the queue may hold.
    full() {
        const connection = connect();
        const outcomes = [];
        const note = (name) => (context) => {
            outcomes.push(name === 'rejected' ? context.delivery.remote_state.error.description : name);
            if (outcomes.length === 3) done({ outcomes }, connection);
        };
        connection.open_sender('full');
        container.on('accepted', note('accepted'));
        container.on('rejected', note('rejected'));
        container.once('sendable', (context) => {
            for (let i = 0; i < 3; i++) context.sender.send({ body: i });
        });
    },

    // A login; the scenario ends with what the broker says.
    login() {
        const connection = connect();
        container.on('connection_open', () => done({ open: true }, connection));
    },
};

container.on('disconnected', (context) => {
    if (context.error) console.log(JSON.stringify({ error: String(context.error.message || context.error) }));
});
container.on('connection_error', () => {});
scenarios[scenario]();
