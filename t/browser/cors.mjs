/*
 * Drives Chromium for cors.t: pages of several origins, which this script serves, and what they may read.
 *
 *   node t/browser/cors.mjs URL KEY PORT PORT
 */
import { createServer } from 'node:http';
import { is, launch, log, ok, run } from './drive.mjs';

const [url, key, ...ports] = process.argv.slice(2);
for (const port of ports) {
    createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end('<!doctype html>')).listen(port, '127.0.0.1');
}
const browser = await launch();

const seenInConsole = [];
/* What a page of that origin sees of requests to Si. */
async function from(origin) {
    const page = await (await browser.newContext()).newPage();
    page.on('console', (m) => seenInConsole.push(m.text()));
    await page.goto(`${origin}/`);
    return page.evaluate(async ([url, key]) => {
        const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
        const call = async (path, init) => {
            try {
                const r = await fetch(url + path, init);
                return { status: r.status, json: await r.clone().json().catch(() => null), r };
            } catch (e) {
                return { error: e.name };
            }
        };
        const made = await call('/v1/conversations', { method: 'POST', headers, body: '{"title":"elsewhere"}' });
        const out = { made: made.error ?? made.status, location: made.r?.headers.get('location') ?? null };
        const denied = await call('/v1/conversations', { headers: { Authorization: 'Bearer none' }, credentials: 'include' });
        out.denied = denied.error ?? denied.json.code;
        if (made.json) {
            const turn = await fetch(`${url}/v1/conversations/${made.json.id}/turns`,
                { method: 'POST', headers: { ...headers, Accept: 'text/event-stream', 'Idempotency-Key': crypto.randomUUID?.() ?? String(Math.random()) }, body: '{"input":"hello"}' });
            out.stream = /event: turn\.completed/.test(await turn.text());
        }
        return out;
    }, [url, key]);
}

await run(browser, async () => {
    for (const origin of [`http://localhost:${ports[0]}`, `http://page.localhost:${ports[1]}`]) {
        const seen = await from(origin);
        is([seen.made, seen.denied, seen.stream], [201, 'unauthorized', true], `${origin} is listed: it reads answers, errors and streams`);
        if (seen.made !== 201) log(`# ${seenInConsole.join('\n# ')}`);
        ok(/^\/v1\/conversations\//.test(seen.location ?? ''), 'and the header Location', seen.location);
    }
    for (const origin of [`http://localhost:${ports[1]}`, `http://other.localhost:${ports[0]}`]) {
        const seen = await from(origin);
        is([seen.made, seen.denied], ['TypeError', 'TypeError'], `${origin} is not: it reads nothing`);
    }
});
