/*
 * Native EventSource and WebSocket of Chromium, which send no header: with tickets, as README.md shows it.
 *
 *   node t/browser/tickets.mjs URL KEY CONVERSATION PORT
 */
import { createServer } from 'node:http';
import { ask, is, launch, run, TIMEOUT } from './drive.mjs';

const [url, key, conversation, port] = process.argv.slice(2);
const path = `/v1/conversations/${conversation}/events`;
createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<!doctype html>')).listen(port, '127.0.0.1');
const browser = await launch();

/* In the page: follows a conversation with tickets. */
function follower({ url, key, path }) {
    const seen = window.seen = { ids: [], tickets: 0, opened: 0 };
    window.ticket = async (p) => {
        const r = await fetch(`${url}/v1/tickets`, { method: 'POST', headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
            body: JSON.stringify({ path: p }) });
        return (await r.json()).ticket;
    };
    window.follow = async function follow(last = '') {
        const t = await ticket(path);
        seen.tickets++;
        const source = new EventSource(`${url}${path}?${new URLSearchParams({ ticket: t, last_event_id: last })}`);
        source.onopen = () => { seen.opened++; };
        for (const type of ['turn.accepted', 'turn.started', 'delta', 'turn.completed']) {
            source.addEventListener(type, (e) => { last = e.lastEventId; seen.ids.push(last); });
        }
        source.onerror = () => { if (source.readyState === EventSource.CLOSED) follow(last); };
    };
    return follow();
}

async function open(origin) {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(TIMEOUT);
    await page.goto(`${origin}/`);
    await page.evaluate(follower, { url, key, path });
    await page.waitForFunction(() => seen.opened === 1);
    return page;
}

/* What becomes of an EventSource with that ticket. */
const opens = (page, address) => page.evaluate((to) => new Promise((resolve) => {
    const source = new EventSource(to);
    source.onopen = () => { source.close(); resolve('open'); };
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) resolve('refused'); };
}), address);

await run(browser, async () => {
    const pages = [await open(url), await open(`http://localhost:${port}`)];
    await ask('step');
    await fetch(`${url}/v1/conversations/${conversation}/turns`, { method: 'POST', body: '{"input":"hello"}',
        headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json', Prefer: 'respond-async' } });
    await ask('go half ');
    for (const page of pages) await page.waitForFunction(() => seen.ids.length === 3);
    await ask('reload');
    for (const page of pages) await page.waitForFunction(() => seen.opened === 2);
    await ask('go whole');
    await ask('finish');
    for (const [i, name] of ['a page of Si itself', 'a page of another origin'].entries()) {
        await pages[i].waitForFunction(() => seen.ids.at(-1) === '1.5');
        is(await pages[i].evaluate(() => [seen.tickets, seen.ids]), [2, ['1.1', '1.2', '1.3', '1.4', '1.5']], `${name} follows with EventSource, after a reload with a second ticket`);
    }
    const t = await pages[1].evaluate((p) => ticket(p), path);
    const other = await open(`http://page.localhost:${port}`);
    is(await opens(other, `${url}${path}?ticket=${t}`), 'refused', 'a ticket of one origin is not good in a page of another one');
    is(await opens(pages[0], `${url}${path}?ticket=${t}`), 'open', 'a page of Si itself names no origin');
    const t2 = await pages[1].evaluate((p) => ticket(p), path);
    is(await opens(pages[1], `${url}${path}?ticket=${t2}`), 'open', 'it is good where it was made');
    is(await opens(pages[1], `${url}${path}?ticket=${t2}`), 'refused', 'once');
    is(await pages[1].evaluate(async (to) => {
        const ws = new WebSocket(`${to.replace('http', 'ws')}/v1/socket?ticket=${await ticket('/v1/socket')}`, ['si']);
        ws.onopen = () => ws.send('{"type":"ping","ref":"p"}');
        return new Promise((resolve) => {
            ws.onmessage = ({ data }) => { resolve(JSON.parse(data).status); ws.close(); };
            ws.onclose = ({ code }) => resolve(code);
        });
    }, url), 200, 'a WebSocket, too');
});
