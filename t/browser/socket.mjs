/*
 * A WebSocket of Chromium, against a whole Si: the key as a subprotocol, a turn, a reload of nginx, a resume.
 *
 *   node t/browser/socket.mjs URL KEY CONVERSATION
 */
import { ask, is, launch, run, TIMEOUT } from './drive.mjs';

const [url, key, conversation] = process.argv.slice(2);
const browser = await launch();

/* In the page: a client as README.md shows it. */
function client({ key, conversation }) {
    const seen = window.seen = { ids: [], events: [], replies: [], codes: [], protocols: [], last: null };
    const connect = () => {
        const ws = window.ws = new WebSocket(location.origin.replace('http', 'ws') + '/v1/socket', ['si', `si.bearer.${key}`]);
        ws.onopen = () => {
            seen.protocols.push(ws.protocol);
            ws.send(JSON.stringify({ type: 'subscribe', conversation, last_event_id: seen.last, ref: 's' }));
        };
        ws.onmessage = ({ data }) => {
            const m = JSON.parse(data);
            if (m.event) {
                seen.last = m.id ?? seen.last;
                seen.ids.push(m.id);
                seen.events.push(m);
            } else {
                seen.replies.push(m);
            }
        };
        ws.onclose = ({ code, wasClean }) => {
            seen.codes.push([code, wasClean]);
            if (code === 1012) connect();
        };
    };
    connect();
}

await run(browser, async () => {
    const page = await browser.newPage();
    page.setDefaultTimeout(TIMEOUT);
    await page.goto(url);
    await page.evaluate(client, { key, conversation });
    await page.waitForFunction(() => seen.replies.length === 1);
    is(await page.evaluate(() => [seen.protocols, seen.replies[0].status]), [['si'], 200], 'Chromium connects and subscribes');
    await ask('step');
    await page.evaluate((c) => ws.send(JSON.stringify({ type: 'turn', conversation: c, ref: 't', input: 'Grüße \u{1f600}' })), conversation);
    await ask('go half ');
    await page.waitForFunction(() => seen.events.some((e) => e.event === 'delta'));
    await ask('reload');
    await page.waitForFunction(() => seen.protocols.length === 2 && seen.replies.filter((m) => m.ref === 's').length === 2);
    is(await page.evaluate(() => seen.codes), [[1012, true]], 'a reload of nginx closes with 1012, cleanly');
    await ask('go whole');
    await ask('finish');
    await page.waitForFunction(() => seen.events.at(-1)?.event === 'turn.completed');
    const { ids, events } = await page.evaluate(() => seen);
    is(ids, ids.map((_, i) => `1.${i + 1}`), 'and the next one goes on behind the last event: each once');
    is(events.filter((e) => e.event === 'delta').map((e) => e.data.text).join(''), 'half whole', 'with all of the text');
    is(events[0].data.input, 'Grüße \u{1f600}', 'and what was said');
    await page.evaluate(() => ws.close(1000));
    await page.waitForFunction(() => seen.codes.length === 2);
    is(await page.evaluate(() => seen.codes[1]), [1000, true], 'a close of the page is answered');
});
