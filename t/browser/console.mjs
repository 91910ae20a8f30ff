/*
 * Drives the console in Chromium for console.t.
 *
 *   node t/browser/console.mjs URL KEY FOLDER_FOR_SCREENSHOTS
 */
import { TIMEOUT, ask, is, launch, log, ok, run } from './drive.mjs';

const [url, key, shots] = process.argv.slice(2);
const browser = await launch();

const errors = [];
let breaking = false;               // connections are being cut on purpose
async function open(options, hash = '') {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    context.setDefaultTimeout(TIMEOUT);
    const page = await context.newPage();
    page.on('pageerror', (e) => errors.push(String(e)));
    page.on('console', (m) => {
        if (m.type() !== 'error' && m.type() !== 'warning') return;
        if (!(breaking && m.text().includes('net::ERR_'))) errors.push(m.text());
    });
    await page.goto(url + hash);
    return page;
}
const shot = (page, name) => page.screenshot({ path: `${shots}/${name}.png` });
/* The text of the nth turn (from 1), and waiting for it. */
const textOf = (page, n) => page.evaluate((n) => document.querySelectorAll('.turn')[n - 1]?.querySelector('.text').innerText, n);
const waitText = (page, n, text) => page.waitForFunction(([n, text]) =>
    document.querySelectorAll('.turn')[n - 1]?.querySelector('.text').innerText.replace(/\s+/g, ' ').trim() === text, [n, text]);
const waitState = (page, n, state) => page.waitForFunction(([n, state]) =>
    document.querySelectorAll('.turn')[n - 1]?.dataset.state === state, [n, state]);
const metaOf = (page, n) => page.evaluate((n) => document.querySelectorAll('.turn')[n - 1].querySelector('.meta').innerText, n);

async function main() {
    /* the key is asked for, checked and kept */
    const one = await open({});
    await one.waitForSelector('#key-dialog[open]');
    ok(true, 'without a key the console asks for one');
    await one.fill('#key-input', 'sk_si_wrong');
    breaking = true;                // a 401 is an error in the browser's eyes
    await one.click('#key-ok');
    await one.waitForFunction(() => document.querySelector('#key-error').textContent !== '');
    ok(errors.every((e) => e.includes('401')), 'a wrong key is refused', errors.join('\n'));
    errors.length = 0;
    breaking = false;
    await shot(one, '1-key');
    await one.fill('#key-input', key);
    await one.click('#key-ok');
    await one.waitForSelector('#key-dialog', { state: 'hidden' });
    await one.reload();
    await one.waitForSelector('#list p, #list a');
    ok(await one.isHidden('#key-dialog'), 'the right one is kept over a reload');
    await shot(one, '2-empty');

    /* a turn, step by step */
    await ask('step');
    await one.fill('#input', 'Tell me about\nstreams.');
    await one.press('#input', 'Enter');
    await one.waitForSelector('.turn .said');
    is(await one.innerText('.said'), 'Tell me about\nstreams.', 'the message is shown');
    await waitState(one, 1, 'thinking');
    ok(await one.isVisible('#stop'), 'while it runs there is a button to stop it');
    const grown = [];
    for (const piece of ['A **stream**', ' is a', ' river.']) {
        await ask(`go ${JSON.stringify(piece)}`);
        await one.waitForFunction((n) => document.querySelector('.text').innerText.length > n, grown.at(-1)?.length ?? 0);
        grown.push(await textOf(one, 1));
    }
    is(grown, ['A stream', 'A stream is a', 'A stream is a river.'], 'the text grows as the model speaks');
    is(await one.innerText('.text strong'), 'stream', 'Markdown is shown as such');

    /* a second page, in the middle: its key comes in the address */
    const hash = new URL(one.url()).hash;
    ok(/^#c=[0-9a-f-]{36}$/.test(hash), 'the address names the conversation', hash);
    const two = await open({ colorScheme: 'dark' }, `/#key=${encodeURIComponent(key)}&${hash.slice(1)}`);
    await waitText(two, 1, 'A stream is a river.');
    ok(true, 'a second page sees what was said before it came');
    ok(!two.url().includes('sk_si_') && two.url().endsWith(hash), 'the key is gone from its address', two.url());
    await ask(`go ${JSON.stringify('\n\n```c\nint x;\n```\n\n<img src=x onerror=alert(1)>')}`);
    for (const page of [one, two]) await page.waitForFunction(() => document.querySelector('.text').innerText.includes('onerror'));
    is(await two.evaluate(() => document.querySelectorAll('.text img').length), 0, 'markup of the model stays text');
    is(await two.innerText('.text pre'), 'int x;', 'code is shown as code');
    await shot(two, '3-streaming-dark');
    await ask('finish');
    for (const page of [one, two]) await waitState(page, 1, 'completed');
    is(await textOf(one, 1), await textOf(two, 1), 'both pages have the same text');
    const meta = await metaOf(one, 1);
    ok(/completed/.test(meta) && /fake-1/.test(meta) && /\d+ tokens/.test(meta) && /first token \d/.test(meta),
        'state, model, tokens and time to first token are shown', meta);
    ok(await one.isHidden('#stop'), 'nothing is left to stop');
    await two.waitForFunction(() => document.getElementById('watching').checkVisibility()
        && document.getElementById('watching').innerText === '2 watching');
    ok(true, 'a page says that it is not the only one');
    await shot(one, '4-completed');

    /* the list, and a reload */
    is(await one.innerText('#list a[aria-current]'), 'Tell me about', 'the conversation is in the list, by its first line');
    await one.reload();
    await waitState(one, 1, 'completed');
    is(await textOf(one, 1), await textOf(two, 1), 'a reload brings everything back');

    /* someone else sends a turn: both pages see it */
    await ask(`offline ${hash.slice(3)} ${JSON.stringify('Hello from elsewhere')}`);
    for (const page of [one, two]) await waitState(page, 2, 'completed');
    is(await textOf(one, 2), await textOf(two, 2), 'a turn from elsewhere arrives in both pages');
    ok(/offline/.test(await metaOf(one, 2)), 'and names its model', await metaOf(one, 2));

    /* stop, with another one waiting */
    await ask('step');
    await two.fill('#input', 'Stop me');
    await two.press('#input', 'Enter');
    await ask('request');
    await ask(`go ${JSON.stringify('Half of ')}`);
    await waitText(two, 3, 'Half of');
    await two.fill('#input', 'I can wait');
    await two.press('#input', 'Enter');
    await waitState(two, 4, 'queued');
    ok(true, 'a second message waits, and says so');
    await ask('tokens');
    await two.click('#stop');
    for (const page of [one, two]) await waitState(page, 3, 'cancelled');
    is(await textOf(one, 3), 'Half of', 'a stopped answer keeps what was said');
    for (const page of [one, two]) await waitState(page, 4, 'completed');
    is(await textOf(one, 4), await textOf(two, 4), 'and the waiting one is answered');

    /* the edge dies in the middle of an answer */
    await ask('step');
    await one.fill('#input', 'Survive');
    await one.press('#input', 'Enter');
    await ask('request');
    await ask(`go ${JSON.stringify('before ')}`);
    for (const page of [one, two]) await waitText(page, 5, 'before');
    breaking = true;
    await ask('kill edge');
    await ask(`go ${JSON.stringify('and after')}`);
    await ask('finish');
    for (const page of [one, two]) await waitState(page, 5, 'completed');
    for (const page of [one, two]) await waitText(page, 5, 'before and after');
    ok(true, 'a killed edge loses nothing: both pages reconnect and go on');
    for (const page of [one, two]) await page.waitForSelector('#live[data-state=open]');
    breaking = false;
    await ask('failing');
    await one.fill('#input', 'Fail');
    await one.press('#input', 'Enter');
    await waitState(one, 6, 'failed');
    ok(/provider_\w+/.test(await one.innerText('.turn:nth-child(6) .fault')), 'a failed turn says why', await one.innerText('.turn:nth-child(6) .fault'));
    await shot(one, '5-failed');

    /* on a phone */
    for (const colorScheme of ['light', 'dark']) {
        const phone = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme },
            `/#key=${encodeURIComponent(key)}&${hash.slice(1)}`);
        await waitState(phone, 6, 'failed');
        const wide = await phone.evaluate(() => [document.documentElement, document.body, document.querySelector('#scroll')]
            .map((e) => e.scrollWidth - e.clientWidth));
        is(wide, [0, 0, 0], `no sideways scrolling on a phone, ${colorScheme}`);
        is(await phone.evaluate(() => innerWidth), 390, 'and the page is as wide as the screen');
        await shot(phone, `6-phone-${colorScheme}`);
        await phone.tap('#menu');
        await phone.waitForSelector('#list a');
        await phone.waitForFunction(() => document.querySelector('#side').getBoundingClientRect().left === 0);
        await shot(phone, `7-phone-list-${colorScheme}`);
        await phone.tap('#new');
        await phone.waitForSelector('#empty', { state: 'visible' });
        ok(!await phone.evaluate(() => document.body.classList.contains('drawer')), 'the list closes when something is chosen');
        await phone.context().close();
    }
    is(errors, [], 'no errors in the console of any page, and no violation of the content security policy');
    is(await one.evaluate(() => new Promise((done) => {
        document.addEventListener('securitypolicyviolation', (e) => setTimeout(() => done([e.effectiveDirective, window.ran ?? null])));
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
    })), ['script-src-elem', null], 'which would not let an inline script run');
    const other = await (await browser.newContext()).newPage();
    await other.setContent(`<iframe src="${url}"></iframe>`);
    await other.waitForFunction(() => { try { return document.querySelector('iframe').contentDocument === null; } catch { return true; } });
    const framed = other.frames()[1];
    await framed.waitForLoadState();
    ok(framed.url().startsWith('chrome-error:'), 'nor the console be framed', framed.url());
}

await run(browser, main, async () => {
    if (errors.length) log(`# ${errors.join('\n# ')}`);
    for (const [i, page] of browser.contexts().flatMap((c) => c.pages()).entries()) await shot(page, `failed-${i}`).catch(() => {});
});
