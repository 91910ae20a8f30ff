/* What the scripts that drive Chromium share, beside what all scripts do (t/sdk/tap.mjs). */
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { run as runAll } from '../sdk/tap.mjs';

export { TIMEOUT, ask, is, log, ok } from '../sdk/tap.mjs';

export function launch() {
    const program = process.env.SI_CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
    return chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage',
        '--disable-background-networking', '--disable-component-update', '--disable-sync'] });
}

/* Runs main to its end, whatever happens, and leaves. */
export function run(browser, main, failed) {
    return runAll(main, failed, () => browser.close());
}
