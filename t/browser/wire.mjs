/*
 * Reads Si's event streams with Chromium's EventSource and with npm's eventsource and eventsource-parser, for wire.t.
 *
 *   node t/browser/wire.mjs URL KEY CASES
 */
import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { EventSource } from 'eventsource';
import { createParser } from 'eventsource-parser';
import { TIMEOUT, ask, is, launch, log, ok, run } from './drive.mjs';

const [url, key, cases] = process.argv.slice(2);
const auth = { Authorization: `Bearer ${key}` };
const TYPES = ['message', 'turn.accepted', 'turn.started', 'delta', 'reasoning', 'turn.restarted', 'turn.completed', 'turn.failed',
    'turn.cancelled', 'stream.degraded'];
const browser = await launch();
/* EventSource sends no Authorization: the browser adds it. The page is of Si's own origin, as no other one may read it. */
const page = await (await browser.newContext({ extraHTTPHeaders: auth })).newPage();
page.setDefaultTimeout(TIMEOUT);

async function until(condition, what) {
    const end = Date.now() + TIMEOUT;
    while (!await condition()) {
        if (Date.now() > end) throw new Error(`timed out waiting for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}

async function post(path, body, more = {}) {
    const r = await fetch(url + path, { method: 'POST', headers: { ...auth, 'Content-Type': 'application/json', ...more }, body: JSON.stringify(body) });
    return { http: r.status, ...await r.json() };
}
const conversation = async () => (await post('/v1/conversations', {})).id;

/* ---- the three readers: events() are [type, data, last id], opened() counts connections ---- */

let sources = 0;
async function inChromium(path) {
    const n = sources++;
    await page.evaluate(([n, path, types]) => {
        const s = new window.EventSource(path);
        const r = (window.readers ??= [])[n] = { events: [], opened: 0, s };
        s.onopen = () => r.opened++;
        for (const type of types) s.addEventListener(type, (e) => r.events.push([e.type, e.data, e.lastEventId]));
    }, [n, path, TYPES]);
    return {
        name: 'Chromium',
        events: () => page.evaluate((n) => window.readers[n].events, n),
        opened: () => page.evaluate((n) => window.readers[n].opened, n),
        close: () => page.evaluate((n) => window.readers[n].s.close(), n),
    };
}

function inEventsource(path) {
    const events = [];
    let opened = 0;
    const s = new EventSource(url + path, { fetch: (to, init) => fetch(to, { ...init, headers: { ...init.headers, ...auth } }) });
    s.onopen = () => opened++;
    for (const type of TYPES) s.addEventListener(type, (e) => events.push([e.type, e.data, e.lastEventId]));
    return { name: 'eventsource', events: () => events, opened: () => opened, close: () => s.close() };
}

/* Bytes go in as they come, a few at a time; the id of an event without one is the last one's, as in EventSource. */
function inParser(path) {
    const events = [], bad = [], retries = [];
    let opened = 0, last = '';
    const parser = createParser({
        onEvent: (e) => events.push([e.event ?? 'message', e.data, last = e.id ?? last]),
        onError: (e) => bad.push(String(e)),
        onRetry: (ms) => retries.push(ms),
    });
    const text = new TextDecoder();
    const r = request(url + path, { headers: auth }, (response) => {
        opened++;
        response.on('data', (bytes) => {
            for (let i = 0; i < bytes.length; i += 7) parser.feed(text.decode(bytes.subarray(i, i + 7), { stream: true }));
        });
        response.on('error', () => {});
    }).on('error', () => {}).end();
    return { name: 'eventsource-parser', events: () => events, opened: () => opened, close: () => r.destroy(), bad, retries };
}

async function readers(path) {
    const all = [await inChromium(path), inEventsource(path), inParser(path)];
    for (const r of all) await until(r.opened, `${r.name} to open`);
    return all;
}

const ended = (events, n) => events.filter(([type]) => /^turn\.(completed|failed)$/.test(type)).length >= n;

/* All of them have read so many ends of turns, and the same events; those of the first. */
async function same(all, n, what) {
    for (const r of all) await until(async () => ended(await r.events(), n), `${n} turns in ${r.name}`);
    const [first, ...rest] = await Promise.all(all.map((r) => r.events()));
    for (const [i, events] of rest.entries()) {
        const at = events.findIndex((e, k) => JSON.stringify(e) !== JSON.stringify(first[k]));
        ok(at < 0 && events.length === first.length, `${what}: ${all[i + 1].name} reads what Chromium reads`,
            `${events.length} and ${first.length} events; ${at}: ${JSON.stringify(events[at])}\n${JSON.stringify(first[at])}`);
    }
    return first;
}

/* The events of each turn, decoded, by its number. */
function byTurn(events) {
    const turns = [];
    for (const [type, data, id] of events) {
        const [turn, n] = id.split('.').map(Number);
        (turns[turn] ??= []).push({ n, event: type, ...JSON.parse(data) });
    }
    return turns;
}
const said = (turn) => turn.filter((e) => e.event === 'delta').map((e) => e.text).join('');

/* ---- the texts of the cases ---- */

/* Bodies with all their line ends, fields and marks; data; ids. */
function texts() {
    const all = new Set();
    for (const c of JSON.parse(readFileSync(cases, 'utf8'))) {
        all.add(c.body);
        for (const e of c.expected) all.add(e.data).add(e.lastEventId).add(e.event);
    }
    all.delete('');
    return [...all];
}

async function format() {
    const list = texts(), plain = list.filter((t) => !t.includes('\0')), nul = list.filter((t) => t.includes('\0'));
    ok(plain.length > 30 && nul.length > 5, `${plain.length} texts, and ${nul.length} that hold NUL`);
    const c = await conversation(), path = `/v1/conversations/${c}`;
    const live = await readers(`${path}/events`);
    /* NUL is refused from the user, and U+FFFD in what a model says; without it the rest of the text is as good as any. */
    const codes = new Set();
    for (const text of nul) codes.add((await post(`${path}/turns`, { input: text })).http);
    is([...codes], [400], 'NUL in a message is refused');
    const rest = [...new Set(nul.map((t) => t.replaceAll('\0', '\u2400')))], asked = [...plain, ...rest, nul[0].replaceAll('\0', '')];
    for (const text of asked) {
        await ask(`say ${JSON.stringify(text)}`);
        const r = await post(`${path}/turns`, { input: text });
        if (r.state !== 'completed') throw new Error(JSON.stringify(r));
    }
    await ask(`say ${JSON.stringify(nul[0])}`);
    is((await post(`${path}/turns`, { input: 'NUL' })).state, 'completed', 'NUL in an answer fails nothing');

    const n = asked.length + 1;
    const turns = byTurn(await same(live, n, 'live'));
    const wrong = asked.filter((text, i) => {
        const t = turns[i + 1];
        return !(t[0].event === 'turn.accepted' && t[0].input === text && said(t) === text && t.at(-1).message.content === text);
    });
    is(wrong, [], 'every text arrives equal: as message, as deltas, as answer');
    const shown = nul[0].replaceAll('\0', '\ufffd');
    is([said(turns[n]), turns[n].at(-1).message?.content], [shown, shown], 'and is shown as U+FFFD');
    is([live[2].bad, live[2].retries.map((ms) => ms >= 500 && ms <= 2000)], [[], [true]], 'eventsource-parser finds no fault, and one retry');

    const replay = await readers(`${path}/events?from=start`);
    const again = byTurn(await same(replay, n, 'from the start'));
    is(asked.filter((text, i) => again[i + 1][0].input !== text || again[i + 1].at(-1).message.content !== text), [], 'equal from the store too');
    for (const r of [...live, ...replay]) await r.close();
}

/* ---- EventSource stays through everything ---- */

async function reconnect() {
    const c = await conversation(), path = `/v1/conversations/${c}`;
    const both = (await Promise.all([inChromium(`${path}/events`), inEventsource(`${path}/events`)]));
    const opened = (n) => Promise.all(both.map((r) => until(async () => await r.opened() >= n, `connection ${n} of ${r.name}`)));
    const have = (text) => Promise.all(both.map((r) =>
        until(async () => (await r.events()).some(([, data]) => data.includes(text)), `"${text}" in ${r.name}`)));
    await opened(1);
    for (const [i, what] of ['reload', 'kill_edge', 'kill_worker'].entries()) {
        await ask('step');
        is((await post(`${path}/turns`, { input: what }, { Prefer: 'respond-async' })).http, 202, `${what} in the middle of a turn`);
        await ask(`go ${JSON.stringify(`${what} begins `)}`);
        await have(`${what} begins `);
        if (what === 'kill_worker') {
            await ask(`say ${JSON.stringify(`${what} anew`)}`);
            await ask(what);
        } else {
            await ask(what);
            await ask(`go ${JSON.stringify('meanwhile ')}`);
            await opened(i + 2);
            await ask(`go ${JSON.stringify('and after')}`);
            await ask('finish');
        }
        for (const r of both) await until(async () => ended(await r.events(), i + 1), `the end of ${what} in ${r.name}`);
    }
    is(await Promise.all(both.map((r) => r.opened())), [3, 3], 'each came back when its connection ended, and stayed when a si-worker died');
    const turns = byTurn(await same(both, 3, 'over all connections'));
    const numbers = turns.flatMap((t) => [t.map((e) => e.n).filter((n, i, all) => i > 0 && n !== all[i - 1] + 1 && n % 1_000_000 !== 1)]);
    is(numbers, [[], [], []], 'no event is missing or comes twice');
    is(turns.slice(1, 3).map(said), ['reload begins meanwhile and after', 'kill_edge begins meanwhile and after'], 'deltas make the answer');
    ok(turns[3].some((e) => e.event === 'turn.restarted'), 'the death of a si-worker is told');
    is(turns[3].at(-1).message.content, 'kill_worker anew', 'and its turn answered');
    is(said(turns[3].slice(turns[3].findIndex((e) => e.event === 'turn.restarted'))), 'kill_worker anew', 'by the deltas after that');
    for (const r of both) await r.close();
}

await run(browser, async () => {
    await page.goto(`${url}/healthz`);
    if (existsSync(cases)) await format();
    else log(`# no ${cases}: the texts are left out`);
    await reconnect();
});
