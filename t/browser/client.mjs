/*
 * Tests si-client.js in Node.js: its parser against the corpus, and its streams against a server in this process
 * that cuts, restarts and refuses as each test says. Prints TAP.
 *
 *   node t/browser/client.mjs [CORPUS]
 */
import { createServer } from 'node:http';
import { readFileSync, existsSync } from 'node:fs';
import { SiClient, SiError, SseParser, TurnView } from '../../conf/console/si-client.js';

let count = 0, failed = 0;
function ok(pass, name, diag) {
    if (!pass) failed++;
    console.log(`${pass ? 'ok' : 'not ok'} ${++count} - ${name}`);
    if (!pass && diag !== undefined) console.log(String(diag).replace(/^/gm, '# '));
}
function is(got, expected, name) {
    const g = JSON.stringify(got), e = JSON.stringify(expected);
    ok(g === e, name, `got      ${g}\nexpected ${e}`);
}

/* ---- the parser ---- */

function parse(bytes, size, lastEventId) {
    const events = [], retries = [];
    const parser = new SseParser({ onEvent: (e) => events.push(e), onRetry: (ms) => retries.push(ms), lastEventId });
    for (let i = 0; i < bytes.length; i += size) parser.feed(bytes.subarray(i, i + size));
    return { events: events.map(({ event, data, lastEventId }) => ({ event, data, lastEventId })),
             retry: retries.at(-1), lastEventId: parser.lastEventId };
}

function corpus(folder) {
    const file = `${folder}/eventsource/cases.json`;
    if (!existsSync(file)) {
        console.log(`ok ${++count} - parser cases # SKIP no ${file}`);
        return;
    }
    for (const c of JSON.parse(readFileSync(file, 'utf8'))) {
        if (c.accepted === false) continue;         // its content type is refused below
        const bytes = new TextEncoder().encode(c.body);
        for (const [size, how] of [[bytes.length, 'whole'], [1, 'byte by byte'], [2, 'by two'], [7, 'by seven']]) {
            const got = parse(bytes, size, c.last_event_id_before);
            is(got.events, c.expected, `${c.name}, ${how}`);
            if ('retry_ms' in c) is(got.retry ?? null, c.retry_ms, `${c.name}, ${how}: retry`);
            if ('reconnect_last_event_id' in c) {
                is(got.lastEventId || null, c.reconnect_last_event_id, `${c.name}, ${how}: id to reconnect with`);
            }
        }
    }
    const text = new TextEncoder().encode('id: 1.2\r\nevent: x\r\ndata: grüß dich €\u{1f600}\r\rdata: b\n\n');
    const want = [{ event: 'x', data: 'grüß dich €\u{1f600}', lastEventId: '1.2' }, { event: 'message', data: 'b', lastEventId: '1.2' }];
    let same = true;
    for (let i = 1; i < text.length; i++) {
        const events = [];
        const parser = new SseParser({ onEvent: ({ event, data, lastEventId }) => events.push({ event, data, lastEventId }) });
        parser.feed(text.subarray(0, i));
        parser.feed(text.subarray(i));
        same &&= JSON.stringify(events) === JSON.stringify(want);
    }
    ok(same, 'every split point gives the same events');
}

/* ---- a server that does what the test says ---- */

const TURN = '019363f2-81d0-7a3c-8c3e-0b9a4f6d7e21', CONV = '019363f2-7c3a-7e11-9d54-3f0b6a1c2d4e';
const ev = (id, type, more = {}) => `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify({ type, turn: TURN, ...more })}\n\n`;
const accepted = (id, n = 1) => ev(id, 'turn.accepted', { conversation: CONV, number: n, input: 'hi', client_turn_id: 'c1', created: 'x' });
const started = (id, attempt = 0) => ev(id, 'turn.started', { agent: 'default', model: 'm', attempt });
const delta = (id, text) => ev(id, 'delta', { text });
const completed = (id, content, n = 1) => ev(id, 'turn.completed', {
    conversation: CONV, number: n, message: { id: 'm', role: 'assistant', content }, model: 'm', agent: 'default',
    finish: 'stop', usage: { input_tokens: 1, output_tokens: 2, estimated: true }, first_token_ms: 3, duration_ms: 4 });

/* Each request takes the next step: step(response, request). `seen` is what came in. */
async function serve(...steps) {
    const seen = [];
    const server = createServer(async (request, response) => {
        let body = '';
        for await (const piece of request) body += piece;
        seen.push({ method: request.method, url: request.url, lastEventId: request.headers['last-event-id'],
                    auth: request.headers.authorization, body: body ? JSON.parse(body) : undefined });
        const step = steps.shift();
        if (step) step(response, request);
        else response.writeHead(500).end();
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { seen, url: `http://127.0.0.1:${server.address().port}`,
             stop: () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); }) };
}

const sse = (...pieces) => (response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write('retry: 10\n\n: si\n\n');
    for (const p of pieces) response.write(p);
    return response;
};
const ended = (...pieces) => (response) => sse(...pieces)(response).end();
/* Cut in the middle of the body, when the client has had all of it. */
const cut = (...pieces) => (response) => {
    sse(...pieces)(response);
    setImmediate(() => response.socket.end());
};
const json = (status, body, headers = {}) => (response) => {
    response.writeHead(status, { 'Content-Type': status < 400 ? 'application/json' : 'application/problem+json', ...headers });
    response.end(JSON.stringify(body));
};
const refuse = (status, code, headers) => json(status, { type: 'about:blank', title: 'x', status, code, detail: 'no' }, headers);

async function take(stream, n) {
    const got = [];
    for await (const e of stream) {
        got.push(e);
        if (got.length === n) break;
    }
    return got;
}
const short = (e) => e.id + (e.type === 'delta' ? ` ${e.text}` : ` ${e.type}`);
const fails = (promise) => promise.then(() => null, (e) => e);

/* ---- the streams ---- */

const tests = {
    async 'a conversation is followed over three connections'() {
        const s = await serve(
            cut(accepted('1.1'), started('1.2'), delta('1.3', 'a')),
            (response) => response.socket.destroy(),
            refuse(503, 'draining', { 'Retry-After': '0' }),
            cut(delta('1.3', 'a'), delta('1.4', 'b')),
            sse(delta('1.5', 'c'), completed('1.6', 'abc')));
        const states = [];
        const si = new SiClient({ baseUrl: `${s.url}/`, key: async () => 'sk_si_test' });
        const stream = si.conversations.events(CONV, { from: 'start', onState: (x) => states.push(x) });
        const got = await take(stream, 6);
        is(got.map(short), ['1.1 turn.accepted', '1.2 turn.started', '1.3 a', '1.4 b', '1.5 c', '1.6 turn.completed'],
            'each event once, in order');
        is(s.seen.map((r) => r.lastEventId ?? null), [null, '1.3', '1.3', '1.3', '1.4'], 'Last-Event-ID of each request');
        is(s.seen.map((r) => r.url.replace(/.*\/events/, '')), ['?from=start', '', '', '', ''], 'from=start is asked once');
        is(s.seen[4].auth, 'Bearer sk_si_test', 'the key is sent');
        ok(states.includes('waiting') && states.includes('open'), 'states are told', states);
        is(stream.lastEventId, '1.6', 'lastEventId is at hand');
        return s.stop();
    },
    async 'a queued turn does not hide the rest of the running one'() {
        const s = await serve(
            cut(accepted('1.1'), accepted('2.1', 2), delta('1.2', 'a'), accepted('3.1', 3)),
            sse(accepted('2.1', 2), accepted('3.1', 3), completed('1.3', 'a'), started('2.2')));
        const got = await take(new SiClient({ baseUrl: s.url }).conversations.events(CONV, { from: 'start' }), 6);
        is(got.map(short), ['1.1 turn.accepted', '2.1 turn.accepted', '1.2 a', '3.1 turn.accepted', '1.3 turn.completed',
            '2.2 turn.started'], 'each event once');
        is(s.seen[1].lastEventId, '1.2', 'goes on from the oldest turn that is not over');
        return s.stop();
    },
    async 'what happens between the first two connections of a quiet stream is not lost'() {
        const s = await serve(
            json(200, { id: CONV, last_turn: 4 }), cut(),
            sse(accepted('4.1', 4), completed('4.2', 'old', 4), accepted('5.1', 5), completed('5.2', 'new', 5)));
        const got = await take(new SiClient({ baseUrl: s.url }).conversations.events(CONV), 2);
        is(got.map(short), ['5.1 turn.accepted', '5.2 turn.completed'], 'the new turn comes, the old one does not');
        return s.stop();
    },
    async 'lastEventId begins in the middle'() {
        const s = await serve(sse(delta('7.9', 'x'), delta('7.10', 'y')));
        const got = await take(new SiClient({ baseUrl: s.url }).conversations.events(CONV, { lastEventId: '7.9' }), 1);
        is(s.seen[0].lastEventId, '7.9', 'it is sent');
        is(got.map(short), ['7.10 y'], 'and what it names is not given again');
        return s.stop();
    },
    async 'fatal answers end a stream'() {
        for (const [status, code] of [[401, 'unauthorized'], [404, 'not_found'], [400, 'invalid_event_id']]) {
            const s = await serve(refuse(status, code));
            const e = await fails(take(new SiClient({ baseUrl: s.url }).conversations.events(CONV, { from: 'start' }), 1));
            ok(e instanceof SiError && e.code === code && e.status === status && s.seen.length === 1, `${status} ${code}`, e);
            await s.stop();
        }
        for (const type of ['x bogus', 'text/x-bogus']) {
            const s = await serve((r) => r.writeHead(200, { 'Content-Type': type }).end('data: data\n\n'));
            const e = await fails(take(new SiClient({ baseUrl: s.url }).conversations.events(CONV, { from: 'start' }), 1));
            ok(e?.code === 'protocol' && s.seen.length === 1, `content type ${type}`, e);
            await s.stop();
        }
    },
    async 'everything on one stream: its ids are the server\'s to read, also one that came alone'() {
        const feed = (id, own, text) => `id: ${id}\nevent: delta\ndata: ${JSON.stringify({ type: 'delta', turn: TURN, conversation: CONV, id: own, text })}\n\n`;
        const s = await serve(cut('id: 41-0.3\n\n'), cut(feed('41-0.4', '1.4', 'a'), feed('42-0.1-1.4', '9.1', 'b')), sse(feed('42-0.1-1.5', '1.5', 'c')));
        const stream = new SiClient({ baseUrl: s.url }).events();
        const got = await take(stream, 3);
        is(got.map((e) => [e.id, e.conversation, e.text]), [['1.4', CONV, 'a'], ['9.1', CONV, 'b'], ['1.5', CONV, 'c']], 'each event once, by its own id');
        is(s.seen.map((r) => `${r.url} ${r.lastEventId ?? '-'}`), ['/v1/events -', '/v1/events 41-0.3', '/v1/events 42-0.1-1.4'], 'and it goes on where it was');
        is(stream.lastEventId, '42-0.1-1.5', 'lastEventId is the stream\'s');
        return s.stop();
    },
    async 'a silent stream reconnects'() {
        const s = await serve(sse(accepted('1.1')), sse(delta('1.2', 'a')));
        const si = new SiClient({ baseUrl: s.url, idleTimeout: 100 });
        const got = await take(si.conversations.events(CONV, { from: 'start' }), 2);
        is(got.map(short), ['1.1 turn.accepted', '1.2 a'], 'and goes on');
        return s.stop();
    },
    async 'close() and signals end a stream quietly'() {
        const s = await serve(sse(accepted('1.1')), sse(accepted('1.1')));
        const si = new SiClient({ baseUrl: s.url });
        const stream = si.conversations.events(CONV, { from: 'start' });
        let n = 0;
        for await (const e of stream) {
            n++;
            stream.close();
        }
        is([n, stream.state], [1, 'closed'], 'close()');
        const abort = new AbortController();
        n = 0;
        for await (const e of si.conversations.events(CONV, { from: 'start', signal: abort.signal })) {
            n++;
            abort.abort();
        }
        is(n, 1, 'signal');
        return s.stop();
    },
    async 'a slow reader holds the stream back'() {
        const many = Array.from({ length: 50_000 }, (_, i) => delta(`1.${i + 1}`, 'x'.repeat(200)));
        let response;
        const s = await serve((r) => {
            response = sse()(r);
            const write = () => {
                while (many.length) if (!response.write(many.splice(0, 100).join(''))) return void response.once('drain', write);
            };
            write();
        });
        const stream = new SiClient({ baseUrl: s.url }).conversations.events(CONV, { from: 'start' });
        const it = stream[Symbol.asyncIterator]();
        await it.next();
        let before = -1;
        while (before !== many.length) {        // until the server can write no more
            before = many.length;
            await new Promise((r) => setTimeout(r, 300));
        }
        ok(many.length > 0, 'the server cannot send everything', many.length);
        let n = 1;
        while (n < 50_000) n += (await it.next()).done ? 1e9 : 1;
        is(n, 50_000, 'and everything arrives once it reads');
        await it.return();
        return s.stop();
    },
    async 'a turn is sent and streamed'() {
        const s = await serve(ended(accepted('1.1'), started('1.2'), delta('1.3', 'Hel'), delta('1.4', 'lo'), completed('1.5', 'Hello')));
        const si = new SiClient({ baseUrl: s.url, key: 'k' });
        const stream = si.turns.send(CONV, { input: 'hi', model: 'm', clientTurnId: 'c1' });
        const got = [];
        for await (const e of stream) got.push(short(e));
        is(got, ['1.1 turn.accepted', '1.2 turn.started', '1.3 Hel', '1.4 lo', '1.5 turn.completed'], 'events');
        is(await stream.text, 'Hello', 'text');
        const turn = await stream.done;
        is([turn.state, turn.model, turn.firstTokenMs, turn.usage.output_tokens], ['completed', 'm', 3, 2], 'done');
        is(s.seen[0].body, { input: 'hi', model: 'm', client_turn_id: 'c1' }, 'body');
        const again = [];
        for await (const e of stream) again.push(short(e));
        is(again, got, 'a second loop sees the same');
        return s.stop();
    },
    async 'a POST stream that is cut goes on by GET'() {
        const s = await serve(cut(accepted('1.1'), started('1.2'), delta('1.3', 'a')), cut(delta('1.4', 'b')),
            ended(delta('1.5', 'c'), completed('1.6', 'abc')));
        const stream = new SiClient({ baseUrl: s.url }).turns.send(CONV, 'hi');
        is(await stream.text, 'abc', 'text');
        is(s.seen.map((r) => `${r.method} ${r.url} ${r.lastEventId ?? '-'}`),
            [`POST /v1/conversations/${CONV}/turns -`, `GET /v1/turns/${TURN}/events 1.3`, `GET /v1/turns/${TURN}/events 1.4`], 'requests');
        is((await take(stream, 6)).map((e) => e.id), ['1.1', '1.2', '1.3', '1.4', '1.5', '1.6'], 'each event once');
        return s.stop();
    },
    async 'a POST that was never answered is repeated under the same client_turn_id'() {
        const s = await serve((r) => r.socket.destroy(), cut(), refuse(503, 'overloaded', { 'Retry-After': '0' }),
            ended(accepted('1.1'), completed('1.2', 'yes')));
        const stream = new SiClient({ baseUrl: s.url }).turns.send(CONV, 'hi');
        is(await stream.text, 'yes', 'text');
        is(s.seen.map((r) => r.method), ['POST', 'POST', 'POST', 'POST'], 'four POSTs');
        is(new Set(s.seen.map((r) => r.body.client_turn_id)).size, 1, 'one client_turn_id');
        return s.stop();
    },
    async 'text is discarded at turn.restarted'() {
        const s = await serve(cut(accepted('1.1'), started('1.2'), delta('1.3', 'wrong ')),
            ended(ev('1.1000001', 'turn.restarted', { attempt: 1, reason: 'worker_lost' }), started('1.1000002', 1),
                delta('1.1000003', 'right')));
        const si = new SiClient({ baseUrl: s.url });
        const stream = si.turns.send(CONV, 'hi');
        const texts = [];
        for await (const e of stream) {
            texts.push(stream.turn.text);
            if (e.id === '1.1000003') break;
        }
        is(texts.at(-1), 'right', 'the text so far is the new attempt\'s');
        is(stream.turn.attempt, 1, 'attempt');
        stream.close();
        await fails(stream.done);
        return s.stop();
    },
    async 'a turn that ended unseen is read as an object'() {
        const s = await serve(cut(accepted('1.1'), delta('1.2', 'a')), (r) => r.writeHead(204).end(),
            json(200, { id: TURN, conversation: CONV, number: 1, state: 'completed', input: 'hi', output: 'abc', model: 'm', agent: null,
                        attempt: 0, client_turn_id: null, error: null, usage: null, finish: 'stop', first_token_ms: 1,
                        duration_ms: 2, created: 'x', finished: 'y' }));
        const stream = new SiClient({ baseUrl: s.url }).turns.send(CONV, 'hi');
        is([await stream.text, (await stream.done).state], ['abc', 'completed'], 'text and state');
        return s.stop();
    },
    async 'failed and cancelled turns'() {
        const s = await serve(
            ended(accepted('1.1'), ev('1.2', 'turn.failed', { code: 'provider_timeout', detail: 'late', retryable: true })),
            sse(accepted('2.1', 2), delta('2.2', 'half')),
            json(200, { id: TURN, state: 'cancelled' }), refuse(409, 'queue_full'));
        const si = new SiClient({ baseUrl: s.url });
        const bad = si.turns.send(CONV, 'hi');
        is((await bad.done).state, 'failed', 'done resolves');
        const e = await fails(bad.text);
        is([e?.code, e?.retryable], ['provider_timeout', true], 'text rejects with the code');
        const stream = si.turns.send(CONV, 'hi');
        is((await stream.cancel()).state, 'cancelled', 'cancel() answers with the turn');
        is(s.seen.at(-1).url, `/v1/turns/${TURN}/cancel`, 'cancel() waits for the id');
        stream.close();
        const full = await fails(si.turns.send(CONV, 'hi').done);
        is([full?.code, full?.status, s.seen.length], ['queue_full', 409, 4], 'a refused turn is not repeated');
        const view = new TurnView();
        view.apply({ id: '1.1', type: 'delta', turn: TURN, text: 'x' });
        view.apply({ id: '1.1', type: 'delta', turn: TURN, text: 'x' });
        view.apply({ id: '1.2', type: 'turn.cancelled', turn: TURN, message: { id: 'm', role: 'assistant', content: 'x' } });
        is([view.state, view.text, view.over], ['cancelled', 'x', true], 'a view takes an event once');
        return s.stop();
    },
    async 'plain requests'() {
        const s = await serve(json(201, { id: CONV, title: 'T' }), json(200, { data: [], next: null }),
            json(200, { readers: 2, complete: true }), refuse(422, 'invalid_field'), json(200, { data: [1], next: 'n' }), () => {});
        const si = new SiClient({ baseUrl: s.url, key: 'k', requestTimeout: 200 });
        is((await si.conversations.create({ title: 'T' })).id, CONV, 'create');
        is((await si.conversations.list({ limit: 5, cursor: 'a b' })).next, null, 'list');
        is(s.seen[1].url, '/v1/conversations?limit=5&cursor=a+b', 'query');
        is((await si.conversations.readers(CONV)).readers, 2, 'readers');
        is(s.seen[2].url, `/v1/conversations/${CONV}/readers`, 'of a conversation');
        is((await fails(si.turns.start(CONV, 'x')))?.code, 'invalid_field', 'problem');
        is((await si.messages.list(CONV)).next, 'n', 'messages');
        is((await fails(si.turns.get('a/b')))?.code, 'timeout', 'every request has a deadline');
        is(s.seen.at(-1).url, '/v1/turns/a%2Fb', 'ids are escaped');
        await s.stop();
        is((await fails(si.turns.get('x')))?.code, 'network', 'no server');
    },
};

process.on('unhandledRejection', (e) => ok(false, 'no unhandled rejection', e?.stack));
const here = new URL('../../..', import.meta.url).pathname;
corpus(process.argv[2] ?? process.env.SI_CORPUS ?? `${here}shared/corpus`);
for (const [name, test] of Object.entries(tests)) {
    console.log(`# ${name}`);
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error('not over after 30 s')), 30_000).unref());
    try {
        await Promise.race([test(), late]);
    } catch (e) {
        ok(false, name, e?.stack);
    }
}
console.log(`1..${count}`);
process.exit(failed ? 1 : 0);
