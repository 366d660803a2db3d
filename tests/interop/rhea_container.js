// An in-memory AMQP 1.0 container for the interop tests, built on the npm package rhea.
//
// Started by the class RheaContainer of peers.py as
//
//     NODE_PATH=<where rhea is installed> node rhea_container.js [options]
//
// It listens on 127.0.0.1 at a free port and prints "READY <port>" once it does. What each address does is told by the
// docstring of that class; the table PREFIXES below is where it is decided. Options:
//
//     --sasl LIST            comma-separated mechanisms to offer: anonymous, plain; an empty list means no SASL layer.
//                            Default: both
//     --user U --password P  what PLAIN accepts. Default: amqp10 and s3cret
//     --require-sasl         refuse a connection that opens without a SASL layer
//     --max-frame-size N     the open frame's max-frame-size. Default: absent, which means no limit
//     --channel-max N        the open frame's channel-max. Default: absent
//     --idle-timeout MS      the open frame's idle-time-out. Default: absent
//     --credit N             the credit that an incoming link is kept at. Default: 500
//     --tls-key F --tls-cert F [--tls-ca F]
//                            serve TLS; with --tls-ca a client certificate is required, and EXTERNAL offered too

'use strict';

const fs = require('node:fs');
const { parseArgs } = require('node:util');
const rhea = require('rhea');

const { values: options } = parseArgs({
    options: {
        sasl: { type: 'string', default: 'anonymous,plain' },
        user: { type: 'string', default: 'amqp10' },
        password: { type: 'string', default: 's3cret' },
        'require-sasl': { type: 'boolean', default: false },
        'max-frame-size': { type: 'string' },
        'channel-max': { type: 'string' },
        'idle-timeout': { type: 'string' },
        credit: { type: 'string', default: '500' },
        'tls-key': { type: 'string' },
        'tls-cert': { type: 'string' },
        'tls-ca': { type: 'string' },
    },
});
const CREDIT = Number(options.credit);
const PRECONDITION_FAILED = 'amqp:precondition-failed';

// The bytes of a message are kept beside its decoded form: it is passed on byte for byte as it came, so that what a
// receiver gets is what the sender encoded, and decoding only proves that rhea understood it.
const decode = rhea.message.decode;
rhea.message.decode = (buffer) => {
    const message = decode(buffer);
    Object.defineProperty(message, 'raw', { value: Buffer.from(buffer), enumerable: false });
    return message;
};

// -- queues

const queues = new Map();

class Queue {
    constructor(name) {
        this.name = name;
        this.sequence = 0;
        this.fresh = []; // entries never handed out; the ones before `head` are gone
        this.head = 0;
        this.returned = []; // entries that came back, by sequence; all are older than every fresh one
        this.consumers = new Set();
    }

    put(payload, decoded) {
        this.fresh.push({ sequence: this.sequence++, payload, decoded, excluded: new Set() });
        this.pump();
    }

    giveBack(entries) {
        this.returned.push(...entries);
        this.returned.sort((a, b) => a.sequence - b.sequence);
    }

    // The oldest entry that this consumer may have, or undefined.
    take(consumer) {
        const index = this.returned.findIndex((entry) => !entry.excluded.has(consumer));
        if (index >= 0) return this.returned.splice(index, 1)[0];
        if (this.head === this.fresh.length) return undefined;
        const entry = this.fresh[this.head];
        this.fresh[this.head++] = undefined;
        if (this.head > 1024 && this.head * 2 > this.fresh.length) {
            this.fresh = this.fresh.slice(this.head);
            this.head = 0;
        }
        return entry;
    }

    pump() {
        // One message each in turn, so that consumers share a queue.
        for (let sent = true; sent; ) {
            sent = false;
            for (const consumer of this.consumers) sent = consumer.sendOne() || sent;
        }
    }
}

function queueNamed(name) {
    if (!queues.has(name)) queues.set(name, new Queue(name));
    return queues.get(name);
}

// -- links on which this container sends

const consumers = new Map(); // rhea sender -> Consumer

class Consumer {
    constructor(sender, queue) {
        this.sender = sender;
        this.queue = queue;
        this.unsettled = new Map(); // rhea delivery -> entry
        this.draining = false; // whether a drain is still to be answered
        this.attached = false;
        queue.consumers.add(this);
        consumers.set(sender, this);
        // rhea writes transfers before the frames of the links: to a peer that sent its attach and its flow in one go a
        // transfer would go out before the attach that answers its own. By the next turn the attach has been written.
        setImmediate(() => {
            this.attached = true;
            if (sender._draining) this.drain();
            else queue.pump();
        });
    }

    // How many messages rhea was given for this link and has still to write.
    pending() {
        const outgoing = this.sender.session.outgoing;
        let count = 0;
        for (let id = outgoing.next_pending_delivery; id < outgoing.next_delivery_id; id++) {
            const delivery = outgoing.deliveries.by_id(id);
            if (delivery && delivery.link === this.sender) count++;
        }
        return count;
    }

    // The credit that is really left. rhea takes a message off `sender.credit` only when it writes the transfer, so
    // what it was handed and has still to write must be taken off here; a message beyond the credit would hold up
    // every other link of the session.
    available() {
        return Math.min(this.sender.credit - this.pending(), this.sender.session.outgoing.available());
    }

    sendOne() {
        if (!this.attached || !this.sender.is_open() || this.available() <= 0) return false;
        const entry = this.queue.take(this);
        if (!entry) return false;
        const delivery = this.sender.send(entry.payload, undefined, 0);
        if (!delivery.settled) this.unsettled.set(delivery, entry);
        return true;
    }

    // What the receiver said about a delivery: the end of it, or its way back into the queue.
    finish(delivery) {
        const entry = this.unsettled.get(delivery);
        const state = delivery.remote_state;
        const outcome = state && state.constructor.composite_type;
        if (!entry || (outcome === 'received' && !delivery.remote_settled)) return;
        this.unsettled.delete(delivery);
        // The receiver that has not settled yet waits for this side to do so first.
        if (!delivery.remote_settled && consumers.has(this.sender)) delivery.update(true);
        if (outcome === 'released') this.queue.giveBack([entry]);
        else if (outcome === 'modified') this.modify(entry, state);
        else if (outcome === 'rejected') this.reject(entry, state);
        if (this.draining) this.drain();
        this.queue.pump();
    }

    modify(entry, { delivery_failed: failed, undeliverable_here: notHere, message_annotations: notes }) {
        if (notHere) entry.excluded.add(this);
        if (failed) entry.decoded.delivery_count = (entry.decoded.delivery_count || 0) + 1;
        if (notes) entry.decoded.message_annotations = { ...entry.decoded.message_annotations, ...notes };
        if (failed || notes) entry.payload = rhea.message.encode(entry.decoded);
        this.queue.giveBack([entry]);
    }

    reject(entry, { error }) {
        entry.decoded.message_annotations = {
            ...entry.decoded.message_annotations,
            'x-opt-rejected-condition': (error && error.condition) || '',
            'x-opt-rejected-description': (error && error.description) || '',
        };
        queueNamed(`${this.queue.name}.rejected`).put(rhea.message.encode(entry.decoded), entry.decoded);
    }

    // Answers a drain: what the queue has goes out first, then the rest of the credit is given up.
    drain() {
        if (!this.attached) return; // it is called again once the attach has been written
        this.queue.pump();
        // Messages that the session's window holds back need their credit; the drain is answered when they have gone.
        this.draining = this.pending() > this.sender.session.outgoing.transfer_window();
        if (this.draining) return;
        this.sender.set_drained(true);
        this.sender.connection._register(); // has the flow written even if there is nothing else to write
    }

    close() {
        if (!consumers.delete(this.sender)) return;
        this.queue.consumers.delete(this);
        // rhea tells of outcomes at the end of a turn, and of a close at once, even if the outcomes came before it.
        for (const delivery of [...this.unsettled.keys()]) {
            if (delivery.remote_state || delivery.remote_settled) this.finish(delivery);
        }
        this.queue.giveBack([...this.unsettled.values()]);
        this.unsettled.clear();
        this.queue.pump();
    }
}

function closeConsumers(belongs) {
    for (const consumer of [...consumers.values()]) {
        if (belongs(consumer.sender)) consumer.close();
    }
}

// -- links on which this container receives

const addresses = new WeakMap(); // rhea receiver -> the address it was given, none for the anonymous terminus

// -- what the addresses do with a message that arrives

function settleUnanswered(delivery) {
    // The delivery leaves rhea's buffer without a word to the peer: the link, session or connection is about to end.
    delivery.settled = true;
}

const PREFIXES = {
    'reject/': ({ delivery, address }) =>
        delivery.reject({ condition: PRECONDITION_FAILED, description: `${address} rejects every message` }),
    'release/': ({ delivery }) => delivery.release(),
    'modify/': ({ delivery }) => delivery.modified({ delivery_failed: true }),
    'modify-here/': ({ delivery }) =>
        delivery.modified({
            delivery_failed: true,
            undeliverable_here: true,
            message_annotations: { 'x-opt-reason': 'not here' },
        }),
    'hold/': () => undefined, // never answered
    'close-connection/': ({ delivery, connection, address }) => {
        settleUnanswered(delivery);
        connection.close({ condition: 'amqp:connection:forced', description: `${address} closes the connection` });
    },
    'end-session/': ({ delivery, session, address }) => {
        settleUnanswered(delivery);
        session.close({ condition: 'amqp:internal-error', description: `${address} ends the session` });
    },
    'detach-link/': ({ delivery, receiver, address }) => {
        settleUnanswered(delivery);
        receiver.close({ condition: 'amqp:link:detach-forced', description: `${address} detaches the link` });
    },
    'drop/': ({ connection }) => connection.socket.destroy(),
    'reencode/': ({ delivery, message, address }) => {
        queueNamed(address).put(rhea.message.encode(message), message);
        delivery.accept();
    },
};

function prefixOf(address) {
    return Object.keys(PREFIXES).find((prefix) => address.startsWith(prefix));
}

// -- the container

const container = rhea.create_container({ id: 'rhea-container' });

const mechanisms = options.sasl.split(',').filter(Boolean);
for (const mechanism of mechanisms) {
    if (mechanism === 'anonymous') container.sasl_server_mechanisms.enable_anonymous();
    else if (mechanism === 'plain') {
        container.sasl_server_mechanisms.enable_plain(
            (user, password) => user === options.user && password === options.password
        );
    } else throw new Error(`unknown mechanism ${mechanism}`);
}

function refuse(link, condition, description) {
    // No terminus was set on this side, so the attach that goes out first names none, as the specification asks.
    link.close({ condition, description });
}

container.on('sender_open', ({ sender }) => {
    const source = sender.source;
    const address = source && source.dynamic ? `dynamic/${rhea.generate_uuid()}` : source && source.address;
    if (!address) {
        refuse(sender, 'amqp:invalid-field', 'the source has no address');
        return;
    }
    if (address.startsWith('refuse/')) {
        refuse(sender, 'amqp:not-found', `there is no node at ${address}`);
        return;
    }
    sender.set_source({ address, dynamic: Boolean(source.dynamic) });
    if (sender.target) sender.set_target({ address: sender.target.address });
    if (sender.snd_settle_mode === 1) sender.local.attach.snd_settle_mode = 1;
    if (sender.rcv_settle_mode === 1) sender.local.attach.rcv_settle_mode = 1;
    new Consumer(sender, queueNamed(address));
});

container.on('receiver_open', ({ receiver }) => {
    const target = receiver.target;
    if (!target) {
        refuse(receiver, 'amqp:not-implemented', 'only messages can be sent here, no transactions');
        return;
    }
    const address = target.dynamic ? `dynamic/${rhea.generate_uuid()}` : target.address;
    if (address && address.startsWith('refuse/')) {
        refuse(receiver, 'amqp:not-found', `there is no node at ${address}`);
        return;
    }
    addresses.set(receiver, address);
    receiver.set_target({ address, dynamic: Boolean(target.dynamic) });
    if (receiver.source) receiver.set_source({ address: receiver.source.address });
    if (receiver.rcv_settle_mode === 1) receiver.local.attach.rcv_settle_mode = 1;
    if (receiver.snd_settle_mode !== undefined) receiver.local.attach.snd_settle_mode = receiver.snd_settle_mode;
    receiver.add_credit(CREDIT);
});

// rhea 3.0 gathers the answers of one turn into ranges, and takes the second delivery of a range into it without a look
// at its outcome. So an answer that differs from the one before it starts with that one written out.
function keepApart(session) {
    const incoming = session.incoming;
    const [before, latest] = incoming.updated.slice(-2);
    if (!latest || rhea.message.are_outcomes_equivalent(before.state, latest.state)) return;
    incoming.updated.pop();
    incoming.process(session);
    incoming.updated.push(latest);
}

container.on('message', (context) => {
    answer(context);
    keepApart(context.session);
});

function answer({ message, delivery, receiver, session, connection }) {
    if (receiver.credit <= CREDIT / 2) receiver.add_credit(CREDIT - receiver.credit);
    // A link to the anonymous terminus has no address; each message says in `to` where it goes.
    const address = addresses.get(receiver) || message.to;
    if (!address) {
        delivery.reject({ condition: PRECONDITION_FAILED, description: 'the message has no address' });
        return;
    }
    const prefix = prefixOf(address);
    if (prefix) {
        PREFIXES[prefix]({ message, delivery, receiver, session, connection, address });
        return;
    }
    if (Buffer.isBuffer(message)) {
        delivery.reject({ condition: PRECONDITION_FAILED, description: 'only message format 0 is known here' });
        return;
    }
    queueNamed(address).put(message.raw, message);
    delivery.accept();
}

// An outcome for a message of ours; settled without one counts as accepted. (As a receiver of rcv-settle-mode second
// this container hears 'settled' too, when the sender is done with a delivery, and can let it go.)
for (const event of ['accepted', 'released', 'modified', 'rejected', 'settled']) {
    container.on(event, ({ sender, delivery }) => {
        const consumer = consumers.get(sender);
        if (consumer) consumer.finish(delivery);
        else if (!sender) delivery.settled = true;
    });
}

container.on('sendable', ({ sender }) => {
    const consumer = consumers.get(sender);
    if (consumer) consumer.queue.pump();
});
container.on('sender_draining', ({ sender }) => {
    const consumer = consumers.get(sender);
    if (consumer) consumer.drain();
});

container.on('sender_close', ({ sender }) => closeConsumers((one) => one === sender));
container.on('session_close', ({ session }) => closeConsumers((one) => one.session === session));
container.on('connection_close', ({ connection }) => closeConsumers((one) => one.connection === connection));
container.on('disconnected', ({ connection }) => closeConsumers((one) => one.connection === connection));

// What a peer reports as an error is not this container's failure: it is written down and the container goes on.
const ERRORS = ['connection_error', 'session_error', 'sender_error', 'receiver_error', 'protocol_error', 'error'];
for (const event of ERRORS) {
    container.on(event, (context) => {
        const where = context.connection && context.connection.remote && context.connection.remote.close;
        console.error(event, context.message || '', JSON.stringify((where && where.error) || {}));
    });
}

function numeric(name) {
    return options[name] === undefined ? {} : { [name.replaceAll('-', '_')]: Number(options[name]) };
}

const listenOptions = {
    host: '127.0.0.1',
    port: 0,
    tcp_no_delay: true,
    require_sasl: options['require-sasl'],
    disable_sasl: mechanisms.length === 0,
    offered_capabilities: ['ANONYMOUS-RELAY'],
    receiver_options: { credit_window: 0, autoaccept: false },
    sender_options: { treat_modified_as_released: false },
    ...numeric('max-frame-size'),
    ...numeric('channel-max'),
};
if (options['idle-timeout'] !== undefined) listenOptions.idle_time_out = Number(options['idle-timeout']);
if (options['tls-key']) {
    listenOptions.transport = 'tls';
    listenOptions.key = fs.readFileSync(options['tls-key']);
    listenOptions.cert = fs.readFileSync(options['tls-cert']);
    if (options['tls-ca']) {
        Object.assign(listenOptions, {
            ca: fs.readFileSync(options['tls-ca']),
            requestCert: true,
            rejectUnauthorized: true,
            enable_sasl_external: true,
        });
    }
}

const server = container.listen(listenOptions);
server.on('listening', () => console.log(`READY ${server.address().port}`));
server.on('error', (error) => {
    console.error(String(error));
    process.exit(1);
});
