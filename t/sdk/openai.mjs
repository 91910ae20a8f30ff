/* Driven by openai.t: node openai.mjs URL KEY */
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, Output, embed, embedMany, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { ask, fails, is, ok, run } from './tap.mjs';

const [url, apiKey] = process.argv.slice(2);
const baseURL = `${url}/v1`;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const model = 'fake-1', messages = [{ role: 'user', content: 'Hello' }];
let asked = 0;

/* The provider's next answers; the last request that it got. */
const next = (...how) => ask(`next ${JSON.stringify(how.length === 1 ? how[0] : how)}`);
const request = () => ask(`request ${++asked}`);
const raw = (...events) => ({ kind: 'raw', bytes: 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n'
    + events.map((e) => `data: ${typeof e === 'string' ? e : JSON.stringify(e)}\n\n`).join('') });
const delta = (d, finish_reason = null) => ({ choices: [{ index: 0, delta: d, finish_reason }] });
const usage = { choices: [], usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18, prompt_tokens_details: { cached_tokens: 5 }, completion_tokens_details: { reasoning_tokens: 3 } } };
const says = (...deltas) => raw(...deltas.map((d) => delta(d)), delta({}, deltas.some((d) => d.tool_calls) ? 'tool_calls' : 'stop'), usage, '[DONE]');
const calls = (...pieces) => pieces.map((p) => ({ tool_calls: [p] }));
const weather = calls({ index: 0, id: 'call_1', type: 'function', function: { name: 'weather', arguments: '' } },
    { index: 0, function: { arguments: '{"city":' } }, { index: 0, function: { arguments: '"Lisbon"}' } });
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };

/* --- OpenAI's own client --- */

async function chat() {
    await next(says({ role: 'assistant', content: '' }, { reasoning_content: 'hm' }, { content: 'Hel' }, { content: 'lo Grüße 😀' }));
    const r = await client.chat.completions.create({ model, messages });
    await request();
    is([r.object, r.choices[0].message.content, r.choices[0].message.reasoning_content, r.choices[0].finish_reason],
        ['chat.completion', 'Hello Grüße 😀', 'hm', 'stop'], 'openai: an answer');
    is([r.usage.prompt_tokens, r.usage.completion_tokens, r.usage.total_tokens, r.usage.prompt_tokens_details.cached_tokens, r.usage.completion_tokens_details.reasoning_tokens],
        [11, 7, 18, 5, 3], 'openai: its usage');
    ok(/^[0-9a-f]{32}$/.test(r._request_id), 'openai: the id of the request', r._request_id);
}

async function stream() {
    await next(says({ content: 'a' }, { content: 'b' }));
    const chunks = [];
    for await (const c of await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } })) chunks.push(c);
    await request();
    is(chunks.map((c) => c.choices[0]?.delta.content ?? '').join(''), 'ab', 'openai: a stream');
    is([chunks[0].choices[0].delta.role, chunks.at(-2).choices[0].finish_reason, chunks.at(-1).usage.total_tokens], ['assistant', 'stop', 18], 'openai: role, finish, usage');

    await next(says({ content: 'Hi ' }, ...weather));
    const helper = client.chat.completions.stream({ model, messages, stream_options: { include_usage: true } });
    const final = await helper.finalChatCompletion();
    await request();
    is([final.choices[0].message.content, final.choices[0].message.tool_calls[0].function.arguments, final.choices[0].finish_reason, (await helper.totalUsage()).total_tokens],
        ['Hi ', '{"city":"Lisbon"}', 'tool_calls', 18], 'openai: its helper puts the pieces together');
}

async function tools() {
    await next(says(...weather), says({ content: 'Sunny.' }));
    const seen = [];
    const runner = client.chat.completions.runTools({ model, messages, tools: [{ type: 'function', function: {
        name: 'weather', description: 'the weather', parameters, parse: JSON.parse, function: ({ city }) => { seen.push(city); return 'sun'; } } }] });
    is([await runner.finalContent(), seen], ['Sunny.', ['Lisbon']], 'openai: runs tools');
    is((await request()).tools, [{ function: { description: 'the weather', name: 'weather', parameters }, type: 'function' }].map(sorted), 'openai: the provider gets the tool');
    is((await request()).messages.slice(1), [
        { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Lisbon"}' } }] },
        { role: 'tool', tool_call_id: 'call_1', content: 'sun' }].map(sorted), 'openai: and then the call and its result');
}

/* Members in the order in which the Perl side writes them. */
function sorted(v) {
    if (Array.isArray(v)) return v.map(sorted);
    if (v === null || typeof v !== 'object') return v;
    return Object.fromEntries(Object.keys(v).sort().map((k) => [k, sorted(v[k])]));
}

async function structured() {
    await next(says({ content: '{"name":"Ada",' }, { content: '"age":36}' }));
    const shape = z.object({ name: z.string(), age: z.number() });
    const r = await client.chat.completions.parse({ model, messages, response_format: zodResponseFormat(shape, 'person') });
    is(r.choices[0].message.parsed, { name: 'Ada', age: 36 }, 'openai: a shape is kept');
    const format = (await request()).response_format;
    is([format.type, format.json_schema.name, format.json_schema.strict, format.json_schema.schema.required], ['json_schema', 'person', true, ['name', 'age']], 'openai: the provider gets it');
}

async function errors() {
    const create = (more, c = client) => c.chat.completions.create({ model, messages, ...more });
    let e = await fails(create({ model: 'none' }), OpenAI.NotFoundError, 'openai: a model that is not there');
    is([e.status, e.code, e.param, e.type], [404, 'model_not_found', 'model', 'invalid_request_error'], 'openai: what is said of it');
    e = await fails(create({ temperature: 'warm' }), OpenAI.BadRequestError, 'openai: a bad field');
    is([e.param, e.code], ['temperature', 'invalid_field'], 'openai: which');
    e = await fails(create({}, new OpenAI({ baseURL, apiKey: 'sk_si_wrong', maxRetries: 0 })), OpenAI.AuthenticationError, 'openai: a bad key');
    ok(/API key/.test(e.message), 'openai: what is said of it', e.message);
    await next({ kind: 'status', status: 429, headers: { 'Retry-After': '1' } });
    e = await fails(create(), OpenAI.RateLimitError, 'openai: too many');
    is([e.code, e.headers.get('retry-after')], ['provider_rate_limited', '1'], 'openai: when to come back');
    await request();
    await next({ kind: 'status', status: 500 });
    e = await fails(create(), OpenAI.InternalServerError, 'openai: the provider fails');
    is([e.status, e.code], [502, 'provider_unavailable'], 'openai: how');
    await request();
    await next({ kind: 'status', status: 500 });
    is((await create({}, new OpenAI({ baseURL, apiKey, maxRetries: 2 }))).choices[0].finish_reason, 'stop', 'openai: its own retries work');
    await request();
    await request();
    for (const n of [1, 2]) {
        await create({}, new OpenAI({ baseURL, apiKey, maxRetries: 0, defaultHeaders: { 'Idempotency-Key': 'k' } }));
        ok(await request(), `openai: an Idempotency-Key is of no effect (${n})`);
    }
    e = await fails(client.responses.retrieve('resp_1'), OpenAI.NotFoundError, 'openai: what is not there');
    is([e.code, e.type], ['not_found', 'invalid_request_error'], 'openai: in its words');
    await next({ kind: 'cut', after: 2 });
    let text = '';
    e = await fails((async () => { for await (const c of await create({ stream: true })) text += c.choices[0]?.delta.content ?? ''; })(), OpenAI.APIError, 'openai: a cut stream is an error');
    is([text, e.code], ['t1 t2 ', 'answer_cut'], 'openai: after what was said');
    await request();
}

async function aborts() {
    await next({ kind: 'step' });
    const s = await (async () => {
        const p = client.chat.completions.create({ model, messages, stream: true });
        await request();
        await ask('go word');
        return p;
    })();
    for await (const c of s) if (c.choices[0].delta.content) break;     /* leaving the loop aborts */
    await ask(`closed ${asked}`);
    ok(true, 'openai: a stream that is left closes the provider');
    await next({ kind: 'hang' });
    const controller = new AbortController();
    const p = client.chat.completions.create({ model, messages }, { signal: controller.signal });
    await request();
    controller.abort();
    await fails(p, OpenAI.APIUserAbortError, 'openai: a call that is given up');
    await ask(`closed ${asked}`);
    ok(true, 'openai: closes the provider, too');
}

async function models() {
    const list = [];
    for await (const m of client.models.list()) list.push(m.id);
    is(list, ['offline', 'lexical', 'fake-1', 'vectors', 'default', 'embeddings'], 'openai: the models');
    is((await client.models.retrieve('fake-1')).owned_by, 'fake', 'openai: one of them');
}

async function embeddings() {
    const input = ['Grüße', 'two 😀', 'three'];
    await next({ kind: 'embed', dims: 5, shuffle: 1 });
    const r = await client.embeddings.create({ model: 'vectors', input });      /* asks for base64 */
    is((await request()).encoding_format, 'base64', 'openai: embeddings');
    is([r.object, r.data.map((d) => [d.object, d.index, d.embedding.length]), r.usage.prompt_tokens > 0], ['list', input.map((_, i) => ['embedding', i, 5]), true], 'openai: their shape');
    await next({ kind: 'embed', dims: 5, as: 'float' });
    const plain = await client.embeddings.create({ model: 'vectors', input: [...input, 'four'], encoding_format: 'float' });
    is((await request()).input, ['four'], 'openai: what is kept is not asked for again');
    is(plain.data.slice(0, 3).map((d) => [...new Float32Array(d.embedding)]), r.data.map((d) => [...d.embedding]), 'openai: numbers have the bits of base64');
    is([plain.data[3].embedding.length, plain.usage.prompt_tokens_details.cached_tokens > 0], [5, true], 'openai: and are counted');
    const l = await client.embeddings.create({ model: 'lexical', input: 'a text', dimensions: 64 });
    is([l.model, l.data[0].embedding.length], ['lexical-hashing-v1', 64], 'openai: lexical');
    let e = await fails(client.embeddings.create({ model: 'vectors', input: '' }), OpenAI.BadRequestError, 'openai: an empty text');
    is([e.param, e.code], ['input', 'invalid_field'], 'openai: which');
    await next({ kind: 'status', status: 400, body: '{"error":{"message":"maximum context length is 8192 tokens"}}' });
    e = await fails(client.embeddings.create({ model: 'vectors', input: 'too long' }), OpenAI.BadRequestError, 'openai: a text that is too long');
    is(e.code, 'context_length_exceeded', 'openai: how');
    await request();
    await next({ kind: 'hang' });
    const controller = new AbortController();
    const p = client.embeddings.create({ model: 'vectors', input: 'nobody waits' }, { signal: controller.signal });
    await request();
    controller.abort();
    await fails(p, OpenAI.APIUserAbortError, 'openai: embeddings that are given up');
    await ask(`closed ${asked}`);
    ok(true, 'openai: close the provider');
}

/* --- the AI SDK --- */

const si = createOpenAICompatible({ name: 'si', baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const plain = { model: si('fake-1'), prompt: 'Hello', maxRetries: 0 };

async function vercel() {
    await next(says({ reasoning_content: 'hm' }, { content: 'Hi' }));
    const r = await generateText(plain);
    await request();
    is([r.text, r.reasoningText, r.finishReason, r.usage.inputTokens, r.usage.outputTokens], ['Hi', 'hm', 'stop', 11, 7], 'ai: an answer');

    await next(says({ reasoning_content: 'hm' }, { content: 'H' }, { content: 'i' }));
    const s = streamText(plain), parts = {};
    for await (const p of s.fullStream) if (p.text !== undefined) parts[p.type] = (parts[p.type] ?? '') + p.text;
    await request();
    is([parts, await s.finishReason, (await s.usage).totalTokens], [{ 'reasoning-delta': 'hm', 'text-delta': 'Hi' }, 'stop', 18], 'ai: a stream');

    for (const how of [generateText, streamText]) {
        await next(says(...weather), says({ content: 'Sunny.' }));
        const t = await how({ ...plain, stopWhen: stepCountIs(3), tools: { weather: tool({ description: 'the weather', inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => `sun in ${city}` }) } });
        is(await t.text, 'Sunny.', `ai: ${how.name} runs tools`);
        await request();
        is((await request()).messages.at(-1).content, 'sun in Lisbon', 'ai: the provider gets the result');
    }
    await next(says({ content: '{"name":"Ada"}' }));
    const o = await generateText({ ...plain, output: Output.object({ schema: z.object({ name: z.string() }) }) });
    is([o.output, (await request()).response_format.type], [{ name: 'Ada' }, 'json_schema'], 'ai: a shape');
}

async function vercelEmbeds() {
    const values = Array.from({ length: 40 }, (_, i) => `value ${i} of the SDK`);
    await next({ kind: 'embed' });
    const r = await embedMany({ model: si.embeddingModel('vectors'), values, maxRetries: 0 });
    is((await request()).input, values, 'ai: embedMany');
    is([r.embeddings.length, r.embeddings[0].length, r.usage.tokens > 0], [40, 4, true], 'ai: its vectors');
    const one = await embed({ model: si.embeddingModel('vectors'), value: values[7], maxRetries: 0 });
    is(one.embedding, r.embeddings[7], 'ai: embed');
    await next({ kind: 'status', status: 429 });
    const e = await fails(embed({ model: si.embeddingModel('vectors'), value: 'x', maxRetries: 0 }), APICallError, 'ai: too many for embeddings');
    is(e.statusCode, 429, 'ai: its status');
    await request();
}

async function vercelFails() {
    await next({ kind: 'status', status: 429 });
    let e = await fails(generateText(plain), APICallError, 'ai: too many');
    is([e.statusCode, e.isRetryable, /^HTTP 429/.test(e.message)], [429, true, true], 'ai: what is said of it');
    await request();
    await next({ kind: 'cut', after: 2 });
    const s = streamText({ ...plain, onError() {} }), kinds = [];
    for await (const p of s.fullStream) kinds.push(p.type);
    await request();
    ok(kinds.includes('error'), 'ai: a cut stream is an error', kinds);
    await next({ kind: 'step' });
    const controller = new AbortController(), a = streamText({ ...plain, abortSignal: controller.signal, onError() {} });
    const read = (async () => { for await (const p of a.fullStream) if (p.type === 'text-delta') controller.abort(); })();
    await request();
    await ask('go word');
    await read;
    await ask(`closed ${asked}`);
    ok(true, 'ai: what is aborted closes the provider');
}

run(async () => {
    for (const part of [chat, stream, tools, structured, errors, aborts, models, embeddings, vercel, vercelEmbeds, vercelFails]) await part();
});
