/*
 * Published clients against Si. Prints TAP; asks the test to script the provider: `do next NAME` (see anthropic.t).
 *
 *   node t/sdk/anthropic.mjs ADDRESS KEY
 */
import Anthropic from '@anthropic-ai/sdk';
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema';
import OpenAI from 'openai';
import { generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import { createAnthropic } from '@ai-sdk/anthropic';
import { ask, fails, is, ok, run } from './tap.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;     // it does not know our models' names
const [address, key] = process.argv.slice(2);
/* What `fn` throws. */
async function thrown(fn) {
    try { await fn(); } catch (e) { return e; }
    return undefined;
}

const anthropic = new Anthropic({ baseURL: address, apiKey: key, maxRetries: 0 });
const openai = new OpenAI({ baseURL: `${address}/v1`, apiKey: key, maxRetries: 0 });
const sdk = createAnthropic({ baseURL: `${address}/v1`, apiKey: key });
const user = [{ role: 'user', content: 'Hello' }];
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const weather = { name: 'weather', description: 'of a city', input_schema: schema };

/* ---- @anthropic-ai/sdk ---- */

async function chat() {
    for (const [model, script, signature] of [['claude-1', 'hello', 'si:claude:sig'], ['gpt-1', 'gpt-hello', '']]) {
        await ask(`next ${script}`);
        const m = await anthropic.messages.create({ model, max_tokens: 2000, system: 'Be brief.', messages: user });
        is(m.content, [{ type: 'thinking', thinking: 'hm', signature }, { type: 'text', text: 'Hello' }], `${model}: a message`);
        is([m.role, m.stop_reason, m.type], ['assistant', 'end_turn', 'message'], `${model}: its end`);
        is([m.usage.input_tokens, m.usage.cache_read_input_tokens, m.usage.output_tokens], model === 'claude-1' ? [7, 20, 9] : [12, 0, 5], `${model}: its usage`);
        ok(/^[0-9a-f]{32}$/.test(m._request_id), `${model}: the id of the request`);

        await ask(`next ${script}`);
        const seen = [], s = anthropic.messages.stream({ model, max_tokens: 2000, messages: user });
        s.on('text', (t) => seen.push(t)).on('contentBlock', (b) => seen.push(b.type));
        const last = await s.finalMessage();
        is(last.content, m.content, `${model}: the same by a stream`);
        is([seen.filter((x) => /Hel|lo/.test(x)).join(''), seen.filter((x) => /^(?:thinking|text)$/.test(x))], ['Hello', ['thinking', 'text']], `${model}: text and blocks as they come`);
        is([last.stop_reason, last.usage.input_tokens, last.usage.output_tokens], [m.stop_reason, m.usage.input_tokens, m.usage.output_tokens], `${model}: and its end`);
    }
}

async function tools() {
    for (const [model, call, answer] of [['claude-1', 'call', 'hello'], ['gpt-1', 'gpt-call', 'gpt-hello']]) {
        await ask(`next ${call}`);
        const m = await anthropic.messages.create({ model, max_tokens: 500, messages: user, tools: [weather], tool_choice: { type: 'auto', disable_parallel_tool_use: true } });
        is(m.content, [{ type: 'text', text: 'Let me see.' }, { type: 'tool_use', id: 't1', name: 'weather', input: { city: 'Ulm' } }], `${model}: a call`);
        is(m.stop_reason, 'tool_use', `${model}: is the end`);
        await ask(`next ${answer}`);
        const back = await anthropic.messages.create({ model, max_tokens: 500, tools: [weather],
            messages: [...user, { role: m.role, content: m.content }, { role: 'user', content: [{ type: 'tool_result', tool_use_id: 't1', content: [{ type: 'text', text: 'rain-of-ulm' }] }] }] });
        is(back.content.at(-1), { type: 'text', text: 'Hello' }, `${model}: the answer to its result`);
        await ask('sent rain-of-ulm');

        await ask(`next ${call}`);
        const pieces = [], s = anthropic.messages.stream({ model, max_tokens: 500, messages: user, tools: [weather] });
        s.on('inputJson', (piece) => pieces.push(piece));
        is((await s.finalMessage()).content, m.content, `${model}: a call by a stream`);
        is(pieces.join(''), '{"city":"Ulm"}', `${model}: its arguments as they come`);
    }
}

async function errors() {
    const create = (more) => () => anthropic.messages.create({ model: 'claude-1', max_tokens: 100, messages: user, ...more });
    let e = await thrown(create({ model: 'nobody' }));
    ok(e instanceof Anthropic.NotFoundError && e.type === 'not_found_error' && e.errorCode === 'model_not_found', 'no such model', e);
    ok(e.requestID && e.error.request_id === e.requestID, 'with the id of the request', JSON.stringify(e));
    e = await thrown(create({ tools: [{ type: 'web_search_20250305', name: 'web_search' }] }));
    ok(e instanceof Anthropic.BadRequestError && /^tools\[0\]\.type: /.test(e.apiMessage), 'a tool of the provider', e);
    e = await thrown(() => new Anthropic({ baseURL: address, apiKey: 'sk_si_nobody', maxRetries: 0 }).messages.create({ model: 'claude-1', max_tokens: 1, messages: user }));
    ok(e instanceof Anthropic.AuthenticationError && e.type === 'authentication_error', 'a wrong key', e);
    for (const [status, type, ours] of [[529, 'overloaded_error', 529], [429, 'rate_limit_error', 429], [400, 'invalid_request_error', 400], [500, 'api_error', 502]]) {
        await ask(`default ${status}`);
        e = await thrown(create({}));
        ok(e instanceof Anthropic.APIError && e.status === ours && e.type === type, `the provider's ${status}`, e);
        e = await thrown(async () => { for await (const x of await create({ stream: true })()) void x; });
        ok(e instanceof Anthropic.APIError && e.status === ours, `the provider's ${status}, streamed`, e);
    }
    await ask('default broken');
    const seen = [];
    e = await thrown(async () => { for await (const x of await create({ stream: true })()) seen.push(x.delta?.text ?? ''); });
    ok(e instanceof Anthropic.APIError && /overloaded_error/.test(e.message), 'an answer that breaks off', e);
    is(seen.join(''), 'half ', 'after what was said');
}

/* Its own retries, and what is not there. */
async function more() {
    await ask('next 529');
    await ask('default hello');
    const again = new Anthropic({ baseURL: address, apiKey: key, maxRetries: 2 });
    is((await again.messages.create({ model: 'claude-1', max_tokens: 100, messages: user })).stop_reason, 'end_turn', 'its own retries work');
    const n = await anthropic.messages.countTokens({ model: 'gpt-1', messages: user });
    ok(n.input_tokens > 0 && n.estimated === true, 'tokens of what is no model of Anthropic are estimated, and it says so', n);
    await ask('next json');
    const shape = { type: 'json_schema', schema: { ...schema, additionalProperties: false } };
    const m = await anthropic.messages.parse({ model: 'claude-1', max_tokens: 100, messages: user, output_config: { format: jsonSchemaOutputFormat(shape.schema) } });
    is(m.parsed_output, { city: 'Ulm' }, 'a shape is kept');
    await ask('sent "output_config":\\{"format":\\{"schema":.*"type":"json_schema"|"output_config":\\{"format":\\{"type":"json_schema"');
}

async function aborts() {
    await ask('default step');
    const s = anthropic.messages.stream({ model: 'gpt-1', max_tokens: 100, messages: user });
    const end = thrown(() => s.finalMessage()), first = new Promise((resolve) => s.on('text', resolve));
    await ask('asked');
    await ask('go first');
    is(await first, 'first', 'the first word');
    s.abort();
    ok(await end instanceof Anthropic.APIUserAbortError, 'is aborted');
    await ask('closed');
    ok(true, 'and the call of the provider with it');
    await ask('default hang');
    const stop = new AbortController(), gone = thrown(() => anthropic.messages.create({ model: 'claude-1', max_tokens: 100, messages: user }, { signal: stop.signal }));
    await ask('asked');
    stop.abort();
    ok(await gone instanceof Anthropic.APIUserAbortError, 'so is a whole message');
    await ask('closed');
    ok(true, 'and its call');
}

async function models() {
    const names = [];
    for await (const m of anthropic.models.list()) names.push(m.id);
    ok(names.includes('claude-1') && names.includes('gpt-1'), 'the list of models', names);
    is((await anthropic.models.retrieve('claude-1')).id, 'claude-1', 'one of them');
    const page = await anthropic.models.list();
    is([page.first_id, page.last_id, page.has_more], [names[0], names.at(-1), false], 'where the list begins and ends');
    const e = await fails(anthropic.models.retrieve('none'), Anthropic.NotFoundError, 'none of them');
    is(e.type, 'not_found_error', 'in words of this dialect');
}

/* ---- ai with @ai-sdk/anthropic ---- */

async function vercel() {
    for (const [name, hello, call] of [['claude-1', 'hello', 'call'], ['gpt-1', 'gpt-hello', 'gpt-call']]) {
        const model = sdk(name), tools = { weather: tool({ description: 'of a city', inputSchema: jsonSchema(schema) }) };
        await ask(`next ${hello}`);
        const whole = await generateText({ model, system: 'Be brief.', prompt: 'Hello', maxRetries: 0 });
        is([whole.text, whole.reasoningText, whole.finishReason, whole.usage.inputTokens], ['Hello', 'hm', 'stop', name === 'claude-1' ? 30 : 12], `ai, ${name}: a text`);
        await ask(`next ${hello}`);
        const s = streamText({ model, prompt: 'Hello', maxRetries: 0 });
        let text = '';
        for await (const t of s.textStream) text += t;
        is([text, await s.finishReason], ['Hello', 'stop'], `ai, ${name}: a stream`);
        await ask(`next ${call}`);
        const called = streamText({ model, prompt: 'Hello', tools, maxRetries: 0 });
        for await (const x of called.fullStream) void x;
        is((await called.toolCalls).map((c) => [c.toolName, c.input]), [['weather', { city: 'Ulm' }]], `ai, ${name}: a call`);
    }
    await ask('next json');
    is((await generateObject({ model: sdk('claude-1'), prompt: 'Where?', schema: jsonSchema(schema), maxRetries: 0 })).object, { city: 'Ulm' }, 'ai: an object');
    await ask('sent "output_config":\\{"format":\\{"type":"json_schema"');
    const e = await thrown(() => generateText({ model: sdk('nobody'), prompt: 'x', maxRetries: 0 }));
    is([e?.statusCode, e?.data?.error?.type], [404, 'not_found_error'], 'ai: an error');
}

/* A tool that it runs itself, a limit, an answer that breaks off, an abort. */
async function vercelMore() {
    const seen = [], tools = { weather: tool({ description: 'of a city', inputSchema: jsonSchema(schema), execute: async ({ city }) => { seen.push(city); return 'rain-of-ulm'; } }) };
    await ask('next call');
    await ask('default hello');
    is([(await generateText({ model: sdk('claude-1'), prompt: 'Hello', tools, stopWhen: stepCountIs(3), maxRetries: 0 })).text, seen], ['Hello', ['Ulm']], 'ai: runs a tool');
    await ask('sent rain-of-ulm');
    await ask('next 429');
    const e = await thrown(() => generateText({ model: sdk('claude-1'), prompt: 'x', maxRetries: 0 }));
    is([e?.statusCode, e?.isRetryable], [429, true], 'ai: a limit');
    await ask('next broken');
    const kinds = [];
    for await (const p of streamText({ model: sdk('claude-1'), prompt: 'x', maxRetries: 0, onError() {} }).fullStream) kinds.push(p.type);
    ok(kinds.includes('error'), 'ai: an answer that breaks off', kinds);
    await ask('default step');
    const stop = new AbortController(), s = streamText({ model: sdk('gpt-1'), prompt: 'x', abortSignal: stop.signal, maxRetries: 0, onError() {} });
    const read = (async () => { for await (const p of s.fullStream) if (p.type === 'text-delta') stop.abort(); })();
    await ask('asked');
    await ask('go first');
    await read;
    await ask('closed');
    ok(true, 'ai: what is aborted closes the provider');
}

/* ---- openai in front of Anthropic ---- */

async function crossed() {
    await ask('next hello');
    const m = await openai.chat.completions.create({ model: 'claude-1', messages: user });
    is([m.choices[0].message.content, m.choices[0].message.reasoning_content, m.choices[0].finish_reason, m.usage.prompt_tokens], ['Hello', 'hm', 'stop', 30], 'openai in front of Anthropic: a message');
    await ask('next call');
    const tools = [{ type: 'function', function: { name: 'weather', parameters: schema } }];
    const done = await openai.chat.completions.stream({ model: 'claude-1', messages: user, tools }).finalChatCompletion();
    is([done.choices[0].finish_reason, done.choices[0].message.tool_calls[0].function.name, done.choices[0].message.tool_calls[0].function.arguments],
        ['tool_calls', 'weather', '{"city":"Ulm"}'], 'a call by a stream');
    await ask('next hello');
    await openai.chat.completions.create({ model: 'claude-1', tools, messages: [...user, done.choices[0].message, { role: 'tool', tool_call_id: 't1', content: 'rain-of-ulm' }] });
    await ask('sent "tool_result".*rain-of-ulm|rain-of-ulm.*"tool_result"');
    ok(true, 'its result goes on as one of Anthropic');
}

run(async () => {
    for (const part of [chat, tools, models, vercel, vercelMore, crossed, errors, more, aborts]) {
        const e = await thrown(part);
        ok(e === undefined, `${part.name}: all of it`, e?.stack);
    }
});
