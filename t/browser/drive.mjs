/*
 * What the scripts that drive Chromium share: TAP lines, and asking the Perl side (t/lib/SI/Browser.pm), which has the
 * processes and the model in its hands, to do something.
 */
import { createInterface } from 'node:readline';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

export const TIMEOUT = 30_000;
export const log = (line) => process.stdout.write(`${line}\n`);
let count = 0;

export function ok(pass, name, diag) {
    log(`${pass ? 'ok' : 'not ok'} ${++count} - ${name}`);
    if (!pass && diag !== undefined) log(`# ${String(diag).replace(/\n/g, '\n# ')}`);
}
export function is(got, expected, name) {
    ok(JSON.stringify(got) === JSON.stringify(expected), name, `got      ${JSON.stringify(got)}\nexpected ${JSON.stringify(expected)}`);
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/* One line there, one line back. */
export async function ask(words) {
    log(`do ${words}`);
    const { value, done } = await answers.next();
    if (done || value !== 'done') throw new Error(`${words}: ${value ?? 'nobody answers'}`);
}

export function launch() {
    const program = process.env.SI_CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
    return chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
        '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
}

/* Runs main to its end, whatever happens, and leaves. */
export async function run(browser, main, failed = async () => {}) {
    try {
        await main();
    } catch (e) {
        ok(false, 'the whole script ran', e.stack);
        await failed();
    }
    await browser.close();
    log(`1..${count}`);
    process.exit(0);
}
