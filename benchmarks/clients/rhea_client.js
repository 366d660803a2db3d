// rhea, for benchmarks/run.py. Needs NODE_PATH to find it. Prints one line of JSON.
'use strict';
const rhea = require('rhea');
const [work, port, countText, sizeText] = process.argv.slice(2);
const count = Number(countText), size = Number(sizeText);
const body = 'x'.repeat(size);
const container = rhea.create_container();
let sent = 0, done = 0, start = 0n, cpu;

function begin() {
    start = process.hrtime.bigint();
    cpu = process.cpuUsage();
}

function finish(context) {
    const used = process.cpuUsage(cpu);
    console.log(JSON.stringify({
        messages: count,
        seconds: Number(process.hrtime.bigint() - start) / 1e9,
        cpu: (used.user + used.system) / 1e6,
        peak_kib: process.resourceUsage().maxRSS,
        p50_us: null, p99_us: null, p999_us: null,
    }));
    context.connection.close();
}

container.on('sendable', (context) => {
    if (!start) begin();
    while (context.sender.sendable() && sent < count) {
        context.sender.send({message_id: 'id-' + String(sent).padStart(7, '0'), body: body});
        sent += 1;
        if (work === 'send-settled') done += 1;
    }
    if (work === 'send-settled' && done === count) finish(context);
});
container.on('accepted', (context) => {
    done += 1;
    if (done === count) finish(context);
});
container.on('message', (context) => {
    if (!context.message.message_id || !context.message.body) throw new Error('empty message');
    done += 1;
    if (done === count) setImmediate(() => finish(context));
});
const connection = container.connect({host: '127.0.0.1', port: Number(port), username: 'u', password: 'p', reconnect: false});
if (work === 'receive') {
    begin();
    connection.open_receiver({source: `source/${count}/${size}`, credit_window: 1000});
} else {
    connection.open_sender({target: 'sink', snd_settle_mode: work === 'send-settled' ? 1 : 0});
}
