/*
 * What nginx refuses, as the clients of OpenAI and Anthropic see it.
 *
 *   node t/sdk/edge.mjs ADDRESS KEY KEY-FOR-LIMITS TOKEN
 */
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { APICallError, generateText } from 'ai';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { fails, is, ok, run } from './tap.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const [address, key, busy, token] = process.argv.slice(2);
let count = 0;
const nobody = () => `a.b.c${count++}`;     /* a token that is none: another one each time, for the limit's sake */
const long = 'x'.repeat(9 << 20);           /* client_max_body_size is 8 MB */

/* Each of them: how it is asked with a key, its classes of errors, the words it has for them, and what it shows of an error. */
const clients = [
    {
        name: 'openai', lib: OpenAI, types: { 401: 'authentication_error', 413: 'invalid_request_error', 429: 'rate_limit_error', 503: 'server_error' },
        ask: (apiKey, maxRetries, content = 'Hello') => new OpenAI({ baseURL: `${address}/v1`, apiKey, maxRetries }).chat.completions.create({ model: 'offline', messages: [{ role: 'user', content }] }),
        shown: (e) => [e.status, e.type, e.code, e.param, typeof e.requestID],
        expected: (status, type, code) => [status, type, code, null, 'string'],
    },
    {
        name: 'anthropic', lib: Anthropic, types: { 401: 'authentication_error', 413: 'request_too_large', 429: 'rate_limit_error', 503: 'api_error' },
        ask: (apiKey, maxRetries, content = 'Hello') => new Anthropic({ baseURL: address, apiKey, maxRetries }).messages.create({ model: 'offline', max_tokens: 100, messages: [{ role: 'user', content }] }),
        shown: (e) => [e.status, e.type, e.errorCode, e.error.request_id === e.requestID, typeof e.requestID],
        expected: (status, type, code) => [status, type, code, true, 'string'],
    },
];

async function refusals({ name, lib, ask, shown, expected, types }) {
    for (const [what, kind, status, code, call] of [
        ['a token that is none', lib.AuthenticationError, 401, 'invalid_token', () => ask(nobody(), 0)],
        ['keys of an issuer that are not known', lib.InternalServerError, 503, 'keys_unavailable', () => ask(token, 0)],
        ['a body that is too large', lib.APIError, 413, 'body_too_large', () => ask(key, 0, long)]]) {
        const e = await fails(call(), kind, `${name}: ${what}`);
        is(shown(e), expected(status, types[status], code), `${name}: is told in its words`);
        is(e.headers.get('content-type'), 'application/json', `${name}: as JSON`);
        is(e.headers.get('retry-after'), status === 503 ? '1' : null, `${name}: and when to come back`);
    }
}

/* The limit lets one through at once and then one a second. */
async function limits({ name, lib, ask, shown, expected, types }, n) {
    const mine = `${busy}${n}`;             /* no key that anybody knows: the limit comes before */
    await fails(ask(mine, 0), lib.AuthenticationError, `${name}: a wrong key, from the worker`);
    const e = await fails(ask(mine, 0), lib.RateLimitError, `${name}: too many requests`);
    is(shown(e), expected(429, types[429], 'rate_limited'), `${name}: are told in its words`);
    is([e.headers.get('retry-after'), e.headers.has('ratelimit')], ['1', true], `${name}: with the time and the limit`);
    await fails(ask(mine, 5), lib.AuthenticationError, `${name}: its own retries wait for that time, and get through`);
}

async function vercel() {
    for (const [name, model, type] of [['openai-compatible', createOpenAICompatible({ name: 'si', baseURL: `${address}/v1`, apiKey: nobody() })('offline'), 'invalid_token'],
        ['anthropic', createAnthropic({ baseURL: `${address}/v1`, apiKey: nobody() })('offline'), 'authentication_error']]) {
        const e = await fails(generateText({ model, prompt: 'Hello', maxRetries: 0 }), APICallError, `ai, ${name}: a token that is none`);
        ok(e.statusCode === 401 && [e.data?.error?.code, e.data?.error?.type].includes(type) && !e.isRetryable, `ai, ${name}: is understood`, e.responseBody);
    }
}

/* Other routes have other words. */
async function others() {
    const get = async (path, method = 'GET', more = {}) => {
        const r = await fetch(address + path, { method, headers: { authorization: `Bearer ${nobody()}`, ...more }, ...(method === 'POST' && { body: '{}' }) });
        return [r.status, r.headers.get('content-type'), Object.keys(await r.json())[0]];
    };
    for (const path of ['/v1/models', '/v1/models/x', '/v1/models?x', '/v1/responses']) is(await get(path), [401, 'application/json', 'error'], `${path}: as OpenAI`);
    for (const path of ['/v1/messages', '/v1/messages/count_tokens']) is(await get(path, 'POST'), [401, 'application/json', 'type'], `${path}: as Anthropic`);
    for (const path of ['/v1/models', '/v1/models/x']) is(await get(path, 'GET', { 'anthropic-version': '2023-06-01' }), [401, 'application/json', 'type'], `${path}: as Anthropic, of whom asks so`);
    for (const path of ['/v1/conversations', '/v1/modelsx']) is(await get(path), [401, 'application/problem+json', 'type'], `${path}: as a problem`);
}

run(async () => {
    for (const [i, c] of clients.entries()) {
        await refusals(c);
        await limits(c, i);
    }
    await vercel();
    await others();
});
