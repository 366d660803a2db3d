// rhea, for benchmarks/run.py. Needs NODE_PATH to find it. Prints one line of JSON.
'use strict';
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
    if (work === 'connect' || work === 'latency') return;
    if (!start) begin();
    while (context.sender.sendable() && sent < count) {
        context.sender.send({message_id: 'id-' + String(sent).padStart(7, '0'), body: body});
        sent += 1;
        if (work === 'send-settled') done += 1;
    }
    if (work === 'send-settled' && done === count) finish(context);
});
container.on('accepted', (context) => {
    if (work === 'latency') return;
    done += 1;
    if (done === count) finish(context);
});
container.on('message', (context) => {
    if (!context.message.message_id || !context.message.body) throw new Error('empty message');
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

function connectAgain(left) {
    if (!start) begin();
    if (!left) { finish(null); return; }
    const connection = container.connect(options);
    connection.open_sender(sink).once('sender_open', () => connection.close());
    connection.once('connection_close', () => setImmediate(connectAgain, left - 1));
}

function codec() {
    const properties = {region: 'eu', attempt: 3};
    const map = {};
    for (let i = 0; i < 1000; i++) map['key-' + i] = i;
    const typical = () => ({message_id: 'id-0000001', subject: 'orders.created', application_properties: properties, body: body});
    const large = {body: map};
    const data = rhea.message.encode(work.endsWith('map') ? large : typical());
    const works = {
        'encode': () => rhea.message.encode(typical()),
        'encode-map': () => rhea.message.encode(large),
        'decode': () => rhea.message.decode(data),
        'decode-map': () => rhea.message.decode(data),
    };
    works[work]();
    begin();
    for (let i = 0; i < count; i++) works[work]();
    finish(null);
}

const options = {host: '127.0.0.1', port: Number(port), username: process.env.BENCHMARK_USER ?? 'u', password: process.env.BENCHMARK_PASSWORD ?? 'p', reconnect: false};
if (work === 'encode' || work === 'decode' || work === 'encode-map' || work === 'decode-map') {
    codec();
} else if (work === 'connect') {
    connectAgain(count);
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
