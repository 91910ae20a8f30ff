/*
 * Drives Chromium for cookies.t: what pages of several origins get when the browser adds the cookie, and nothing else.
 *
 *   node t/browser/cookies.mjs PORT TOKEN PORT PORT
 */
import { createServer } from 'node:http';
import { is, launch, run, TIMEOUT } from './drive.mjs';

const [port, token, ...ports] = process.argv.slice(2);
const url = `http://localhost:${port}`;
for (const p of ports) createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<!doctype html>')).listen(p, '127.0.0.1');
const browser = await launch();

/* In the page: status, error or "open" of a POST, a blind POST, a GET, an EventSource and a WebSocket. */
async function tries([url, title]) {
    const status = (path, init) => fetch(url + path, { credentials: 'include', ...init }).then((r) => r.status, (e) => e.name);
    const body = JSON.stringify({ title });
    const out = [await status('/v1/conversations', { method: 'POST', body, headers: { 'Content-Type': 'application/json' } })];
    if (title === 'foreign') out.push(await status('/v1/conversations', { method: 'POST', body, mode: 'no-cors' }));
    out.push(await status('/v1/conversations'));
    out.push(await new Promise((resolve) => {
        const source = new EventSource(`${url}/v1/events`, { withCredentials: true });
        source.onopen = () => { source.close(); resolve('open'); };
        source.onerror = () => { if (source.readyState === EventSource.CLOSED) resolve('refused'); };
    }));
    out.push(await new Promise((resolve) => {
        const ws = new WebSocket(`${url.replace('http', 'ws')}/v1/socket`);
        ws.onopen = () => { ws.close(); resolve('open'); };
        ws.onerror = () => resolve('refused');
    }));
    return out;
}

await run(browser, async () => {
    const context = await browser.newContext();
    await context.addCookies([{ name: 'session', value: token, url, httpOnly: true, sameSite: 'Lax' }]);
    for (const [title, origin, seen] of [
        ['own', url, [201, 200, 'open', 'open']],
        ['listed', `http://localhost:${ports[0]}`, [201, 200, 'open', 'open']],
        // The blind POST has an answer, 403, that the page may not see.
        ['foreign', `http://localhost:${ports[1]}`, ['TypeError', 0, 'TypeError', 'refused', 'refused']],
    ]) {
        const page = await context.newPage();
        page.setDefaultTimeout(TIMEOUT);
        await page.goto(`${origin}/`);
        is(await page.evaluate(tries, [url, title]), seen, `a page that is ${title}`);
    }
});
