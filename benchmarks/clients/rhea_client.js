// rhea, for benchmarks/run.py. Needs NODE_PATH to find it. Prints one line of JSON.
'use strict';
const fs = require('fs');
const rhea = require('rhea');
const [work, port, countText, sizeText, sink = 'sink', source = `source/${countText}/${sizeText}`] = process.argv.slice(2);
const count = Number(countText), size = Number(sizeText);
const body = 'x'.repeat(size);
const container = rhea.create_container();
const latencies = [];
let sent = 0, done = 0, start = 0n, cpu;

function begin() {
    start = process.hrtime.bigint();
    cpu = process.cpuUsage();
}

function share(part) {
    if (!latencies.length) return null;
    latencies.sort((a, b) => a - b);
    return latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))];
}

function finish(context) {
    const used = process.cpuUsage(cpu);
    console.log(JSON.stringify({
        messages: count,
        seconds: Number(process.hrtime.bigint() - start) / 1e9,
        cpu: (used.user + used.system) / 1e6,
        peak_kib: process.resourceUsage().maxRSS,
        p50_us: share(0.5), p99_us: share(0.99), p999_us: share(0.999),
    }));
    if (context) context.connection.close();
}

container.on('sendable', (context) => {
    if (work === 'connect' || work === 'latency' || work === 'request') return;
    if (!start) begin();
    while (context.sender.sendable() && sent < count) {
        context.sender.send({message_id: 'id-' + String(sent).padStart(7, '0'), body: body});
        sent += 1;
        if (work === 'send-settled') done += 1;
    }
    if (work === 'send-settled' && done === count) finish(context);
});
container.on('accepted', (context) => {
    if (work === 'latency' || work === 'request') return;
    done += 1;
    if (done === count) finish(context);
});
container.on('message', (context) => {
    if (!context.message.message_id || !context.message.body) throw new Error('empty message');
    if (work === 'request') return;
    done += 1;
    if (done === count) setImmediate(() => finish(context));
});
function latency(connection) {
    const sender = connection.open_sender({target: sink, snd_settle_mode: 0});
    let sentAt = 0n;
    function next() {
        sentAt = process.hrtime.bigint();
        sender.send({message_id: 'id-' + String(done).padStart(7, '0'), body: body});
    }
    sender.once('sendable', () => { begin(); next(); });
    sender.on('accepted', (context) => {
        latencies.push(Number(process.hrtime.bigint() - sentAt) / 1e3);
        done += 1;
        if (done === count) finish(context); else next();
    });
}

function request(connection) {
    const receiver = connection.open_receiver({source: {dynamic: true}});
    const sender = connection.open_sender('service');
    let sentAt = 0n, awaited = '';
    function next() {
        sentAt = process.hrtime.bigint();
        awaited = 'request-' + done;
        sender.send({message_id: 'id-' + String(done).padStart(7, '0'), reply_to: receiver.source.address, correlation_id: awaited, body: body});
    }
    receiver.once('receiver_open', () => sender.once('sendable', () => { begin(); next(); }));
    receiver.on('message', (context) => {
        if (context.message.correlation_id !== awaited) throw new Error('not the response');
        latencies.push(Number(process.hrtime.bigint() - sentAt) / 1e3);
        done += 1;
        if (done === count) setImmediate(() => finish(context)); else next();
    });
}

function connectAgain(left) {
    // The first one, when everything is compiled, is not counted.
    if (!start && left === count) begin();
    if (!left) { finish(null); return; }
    const startedAt = process.hrtime.bigint();
    const connection = container.connect(options);
    connection.open_sender(sink).once('sender_open', () => {
        if (start) latencies.push(Number(process.hrtime.bigint() - startedAt) / 1e3);
        connection.close();
    });
    connection.once('connection_close', () => setImmediate(connectAgain, left - 1));
}

function codec() {
    const map = {};
    for (let i = 0; i < 1000; i++) map['key-' + i] = i;
    // What common.py has for the others.
    const stream = [];
    for (let i = 0; i < 300; i++) {
        stream.push({
            id: 'id-' + String(i).padStart(7, '0'),
            subject: ['orders.created', 'orders.cancelled'][i % 2],
            properties: {region: ['eu', 'us', 'apac'][i % 3], attempt: i % 5},
            text: 'x'.repeat(80 + i * 7 % 41),
        });
    }
    const typical = ({id, subject, properties, text}) => ({message_id: id, subject: subject, application_properties: properties, body: text});
    const large = {body: map};
    const encoded = stream.map((parts) => rhea.message.encode(typical(parts)));
    const data = rhea.message.encode(large);
    const works = {
        'encode': (i) => rhea.message.encode(typical(stream[i % 300])),
        'encode-map': () => rhea.message.encode(large),
        'decode': (i) => rhea.message.decode(encoded[i % 300]),
        'decode-map': () => rhea.message.decode(data),
    };
    for (let i = 0; i < 300; i++) works[work](i);
    begin();
    for (let i = 0; i < count; i++) works[work](i);
    finish(null);
}

const options = {host: '127.0.0.1', port: Number(port), username: process.env.BENCHMARK_USER ?? 'u', password: process.env.BENCHMARK_PASSWORD ?? 'p', reconnect: false};
if (process.env.BENCHMARK_CA) {
    Object.assign(options, {transport: 'tls', ca: fs.readFileSync(process.env.BENCHMARK_CA), rejectUnauthorized: true});
}
if (work === 'encode' || work === 'decode' || work === 'encode-map' || work === 'decode-map') {
    codec();
} else if (work === 'connect') {
    connectAgain(count + 1);
} else if (work === 'request') {
    request(container.connect(options));
} else if (work === 'latency') {
    latency(container.connect(options));
} else if (work === 'receive') {
    const connection = container.connect(options);
    begin();
    connection.open_receiver({source: source, credit_window: 1000});
} else {
    const connection = container.connect(options);
    connection.open_sender({target: sink, snd_settle_mode: work === 'send-settled' ? 1 : 0});
}
