/*
 * What the scripts that a test runs in Node.js share: TAP lines, and asking the Perl side (t/lib/SI/Node.pm), which has the
 * processes and the model in its hands, to do something.
 */
import { createInterface } from 'node:readline';

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
/* What the promise is rejected with; a test that it is. */
export async function fails(promise, kind, name) {
    try {
        await promise;
    } catch (e) {
        ok(e instanceof kind, name, e.stack);
        return e;
    }
    ok(false, name, 'it did not fail');
    return {};
}

let answers;
/* One line there, one line back: the object in it, if there is one. */
export async function ask(words) {
    answers ??= createInterface({ input: process.stdin })[Symbol.asyncIterator]();
    log(`do ${words}`);
    const { value, done } = await answers.next();
    if (done || !/^done( |$)/.test(value)) throw new Error(`${words}: ${value ?? 'nobody answers'}`);
    return value.length > 5 ? JSON.parse(value.slice(5)) : undefined;
}

/* Runs main to its end, whatever happens, and leaves. */
export async function run(main, failed = async () => {}, last = async () => {}) {
    try {
        await main();
    } catch (e) {
        ok(false, 'the whole script ran', e.stack);
        await failed();
    }
    await last();
    log(`1..${count}`);
    process.exit(0);
}
