/*
 * Gemini behind Si, with Google's own client as the judge: it is asked about each answer directly, and what it reads must be what
 * OpenAI's client gets through Si; and it writes each request, which must be what Si sends. See genai.t.
 *
 *   node t/sdk/genai.mjs ADDRESS KEY ADDRESS-OF-GEMINI [FOLDER]
 *
 * FOLDER: recordings of that client's own tests (test/system/recordings/ of github.com/googleapis/js-genai), to be read as well. Its npm
 * package has none, so the answers below are of our own making; they have all the members that the recordings have.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { FunctionCallingConfigMode, GoogleGenAI } from '@google/genai';
import OpenAI from 'openai';
import { ask, fails, is, ok, run } from './tap.mjs';

const [address, apiKey, gemini, folder] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${address}/v1`, apiKey, maxRetries: 0 });
const google = new GoogleGenAI({ apiKey: 'theirs', httpOptions: { baseUrl: gemini, apiVersion: 'v1' } });
const model = 'gem-1', upstream = 'gemini-3-x', messages = [{ role: 'user', content: 'Hello' }];

/* --- answers --- */

const chunk = (parts, more = {}, finishReason, usage) => ({ candidates: [{ content: { role: 'model', parts }, index: 0, ...(finishReason && { finishReason }), ...more }],
    modelVersion: 'gemini-3-x-001', responseId: 'r-1', createTime: '2026-01-01T00:00:00.1Z', turnToken: 'v1:x', usageMetadata: { trafficType: 'ON_DEMAND', ...usage } });
const usage = { promptTokenCount: 20, candidatesTokenCount: 5, thoughtsTokenCount: 7, toolUsePromptTokenCount: 3, cachedContentTokenCount: 4, totalTokenCount: 35,
    promptTokensDetails: [{ modality: 'TEXT', tokenCount: 20 }], cacheTokensDetails: [{ modality: 'TEXT', tokenCount: 4 }], billablePromptUsage: { textCount: 5 } };
const call = (name, args, more) => ({ functionCall: { name, ...(args && { args }) }, ...more });
const sealed = { thoughtSignature: 'CiQB' };
const answers = {
    'a text': [chunk([{ text: 'Gr' }], {}, '', { promptTokenCount: 20, totalTokenCount: 20 }), chunk([{ text: 'üße ' }, { text: '😀\n' }], { avgLogprobs: -0.1, score: -1 }), chunk([{ text: '!', ...sealed }], { finishMessage: 'm' }, 'STOP', usage)],
    'thoughts': [chunk([{ text: '**Hm**\n', thought: true }]), chunk([{ text: 'so', thought: true }, { text: '42' }], {}, 'MAX_TOKENS', usage)],
    'a call': [chunk([call('weather', { city: 'Ulm', days: 2, deep: { a: [1, null, true] } }, sealed)], {}, 'STOP', usage)],
    'several calls': [chunk([{ text: 'I look. ' }, call('weather', { city: 'Ulm' }, sealed), call('weather', { city: 'Bonn' })]), chunk([call('stop')], {}, 'STOP', usage)],
    'a filter': [chunk([{ text: 'Well' }], { safetyRatings: [{ category: 'HARM_CATEGORY_HARASSMENT', probability: 'HIGH', blocked: true }] }), chunk([], {}, 'SAFETY', usage)],
    'a picture': [chunk([{ text: 'See: ' }, { inlineData: { mimeType: 'image/png', data: 'QUJD'.repeat(500_000) } }], {}, 'STOP', usage)],
};
const frame = (type, body, status = '200 OK') => ({ kind: 'raw', bytes: `HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\n\r\n${body}` });
const frames = {
    'server-sent events': (chunks) => frame('text/event-stream', chunks.map((c) => `data: ${JSON.stringify(c)}\r\n\r\n`).join('')),
    'a JSON array': (chunks) => frame('application/json; charset=UTF-8', `[${chunks.map((c) => JSON.stringify(c, null, 2)).join('\n,\r\n')}\n]`),
};
const lasting = (how) => ask(`default ${JSON.stringify(how)}`);

const finish = { STOP: 'stop', MAX_TOKENS: 'length', SAFETY: 'content_filter' };
/* Arguments that come in pieces are put together by Si, but not by Google's client. */
const args = (c) => c.functionCall.partialArgs || c.functionCall.willContinue ? 'in pieces' : c.functionCall.args ?? {};

/* What the client of Google says that the chunks are, in the words of the other. */
function read(chunks) {
    const r = { text: '', thoughts: '', calls: [], finish: null, usage: null };
    for (const c of chunks) {
        for (const p of c.candidates?.[0]?.content?.parts ?? []) {
            if (p.functionCall?.name) r.calls.push([p.functionCall.name, args(p)]);
            else r[p.thought ? 'thoughts' : 'text'] += p.text ?? '';
        }
        r.finish = c.candidates?.[0]?.finishReason ?? r.finish;
        const u = c.usageMetadata;
        if (u?.promptTokenCount) r.usage = [u.promptTokenCount + (u.toolUsePromptTokenCount ?? 0), (u.candidatesTokenCount ?? 0) + (u.thoughtsTokenCount ?? 0), u.cachedContentTokenCount ?? 0, u.thoughtsTokenCount ?? 0];
    }
    r.finish = r.finish === 'STOP' && r.calls.length ? 'tool_calls' : finish[r.finish] ?? r.finish;
    return r;
}

function said(choice, u, judge) {
    const m = choice.message;
    return { text: m.content ?? '', thoughts: m.reasoning_content ?? '', calls: (m.tool_calls ?? []).map((c, i) => [c.function.name, judge.calls[i]?.[1] === 'in pieces' ? 'in pieces' : JSON.parse(c.function.arguments)]), finish: choice.finish_reason,
        usage: judge.usage && [u.prompt_tokens, u.completion_tokens, u.prompt_tokens_details.cached_tokens, u.completion_tokens_details.reasoning_tokens] };
}

/* Thoughts, and most of the usage, have no place in the helper's message. */
async function streamed(judge) {
    let thoughts = '', u;
    const s = openai.chat.completions.stream({ model, messages, stream_options: { include_usage: true } });
    s.on('chunk', (c) => { thoughts += c.choices[0]?.delta.reasoning_content ?? ''; u = c.usage ?? u; });
    const r = await s.finalChatCompletion();
    r.choices[0].message.reasoning_content = thoughts;
    return said(r.choices[0], u, judge);
}

async function judged() {
    for (const [name, chunks] of Object.entries(answers)) {
        await lasting(frames['server-sent events'](chunks));
        const theirs = [];
        for await (const c of await google.models.generateContentStream({ model: upstream, contents: 'Hello' })) theirs.push(c);
        const judge = read(theirs);
        ok(theirs.length === chunks.length && judge.usage, `${name}: Google's client understands it`);
        for (const [framing, framed] of Object.entries(frames)) {
            await lasting(framed(chunks));
            const r = await openai.chat.completions.create({ model, messages });
            is(said(r.choices[0], r.usage, judge), judge, `${name}, as ${framing}: the same through Si`);
            is(r.model, 'gemini-3-x-001', `${name}, as ${framing}: and its name`);
            is(await streamed(judge), judge, `${name}, as ${framing}: streamed`);
        }
    }
}

/* Of its own tests: every answer that its client has recorded. */
async function recorded() {
    let count = 0;
    const wrong = [];
    for (const file of readdirSync(folder).filter((f) => f.endsWith('.json'))) {
        for (const { request, response } of JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')).interactions) {
            if (!/enerateContent/.test(request.url) || response.statusCode !== 200 || !response.bodySegments) continue;
            const chunks = response.bodySegments, judge = read(chunks);
            for (const framed of /alt=sse/.test(request.url) ? Object.values(frames) : [([c]) => frame('application/json', JSON.stringify(c))]) {
                await lasting(framed(chunks));
                const r = await openai.chat.completions.create({ model, messages }).catch((e) => e);
                const got = r instanceof Error ? r.message : said(r.choices[0], r.usage, judge);
                count++;
                if (JSON.stringify(got) !== JSON.stringify(judge)) wrong.push(`${file}: ${JSON.stringify(got)} but ${JSON.stringify(judge)}`);
            }
        }
    }
    ok(count > 0 && wrong.length === 0, `${count} recordings`, wrong.join('\n'));
}

/* --- errors --- */

async function errors() {
    const error = (code, status, details) => JSON.stringify({ error: { code, message: 'So it is.', status, ...(details && { details }) } });
    const info = (type, more) => [{ '@type': `type.googleapis.com/google.rpc.${type}`, ...more }];
    for (const [what, kind, status, code, body] of [
        ['404 Not Found', OpenAI.NotFoundError, 404, 'provider_rejected', error(404, 'NOT_FOUND')],
        ['400 Bad Request', OpenAI.BadRequestError, 400, 'provider_rejected', error(400, 'INVALID_ARGUMENT')],
        ['400 Bad Request', OpenAI.InternalServerError, 502, 'credentials_exhausted', error(400, 'INVALID_ARGUMENT', info('ErrorInfo', { reason: 'API_KEY_INVALID' }))],
        ['429 Too Many', OpenAI.RateLimitError, 429, 'provider_rate_limited', error(429, 'RESOURCE_EXHAUSTED', info('RetryInfo', { retryDelay: '7s' }))],
        ['503 Unavailable', OpenAI.InternalServerError, 503, 'provider_unavailable', error(503, 'UNAVAILABLE')]]) {
        for (const stream of [false, true]) {
            await lasting(frame('application/json', body, what));
            const e = await fails(openai.chat.completions.create({ model, messages, stream }), kind, `${what}${stream ? ', streamed' : ''}`);
            is([e.status, e.code], [status, code], `${what}: as ${code}`);
            if (status === 429) is(e.headers.get('retry-after'), '1', `${what}: Google's 7 s are cut to cooldown_max, when Si asks again`);
        }
    }
    for (const [framing, framed] of Object.entries(frames)) {
        const half = [chunk([{ text: 'half ' }])];
        for (const [what, bytes] of [['an error', framed([...half, JSON.parse(error(503, 'UNAVAILABLE'))])], ['an end without a finish', framed(half)]]) {
            await lasting(bytes);
            let text = '';
            await fails((async () => { for await (const c of await openai.chat.completions.create({ model, messages, stream: true })) text += c.choices[0]?.delta.content ?? ''; })(), OpenAI.APIError, `${framing}, ${what} in the middle: is one`);
            is(text, 'half ', `${framing}, ${what}: after what was said`);
            await fails(openai.chat.completions.create({ model, messages }), OpenAI.InternalServerError, `${framing}, ${what}: no half body`);
        }
    }
    await lasting(frames['server-sent events']([{ promptFeedback: { blockReason: 'SAFETY' }, usageMetadata: { promptTokenCount: 3 } }]));
    is((await openai.chat.completions.create({ model, messages })).choices[0].finish_reason, 'content_filter', 'a prompt that is refused');
}

/* --- requests --- */

const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const fn = { name: 'weather', description: 'of a city', parameters: schema }, theirs = { name: fn.name, description: fn.description, parametersJsonSchema: schema };
const tools = [{ type: 'function', function: fn }], declared = [{ functionDeclarations: [theirs] }];
const mode = (m, names) => ({ functionCallingConfig: { mode: FunctionCallingConfigMode[m], ...(names && { allowedFunctionNames: names }) } });
const hello = { role: 'user', parts: [{ text: 'Hello' }] };
/* Each: ours, then theirs. */
const requests = {
    'a question': [{}, { contents: [hello] }],
    'a prompt and numbers': [{ messages: [{ role: 'system', content: 'Be brief.' }, ...messages], temperature: 0.5, top_p: 0.25, max_tokens: 50, stop: ['a', 'b'], seed: 7, frequency_penalty: 1, presence_penalty: -1 },
        { contents: [hello], config: { systemInstruction: 'Be brief.', temperature: 0.5, topP: 0.25, maxOutputTokens: 50, stopSequences: ['a', 'b'], seed: 7, frequencyPenalty: 1, presencePenalty: -1 } }],
    'tools': [{ tools }, { contents: [hello], config: { tools: declared, toolConfig: mode('AUTO') } }],
    'one that must be called': [{ tools, tool_choice: { type: 'function', function: { name: 'weather' } } }, { contents: [hello], config: { tools: declared, toolConfig: mode('ANY', ['weather']) } }],
    'a shape': [{ response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } }, { contents: [hello], config: { responseMimeType: 'application/json', responseJsonSchema: schema } }],
    'thinking': [{ reasoning_effort: 'low' }, { contents: [hello], config: { thinkingConfig: { thinkingLevel: 'LOW', includeThoughts: true } } }],
    'a picture': [{ messages: [{ role: 'user', content: [{ type: 'text', text: 'Look' }, { type: 'image_url', image_url: { url: 'data:image/png;base64,QQ==' } }] }] },
        { contents: [{ role: 'user', parts: [{ text: 'Look' }, { inlineData: { mimeType: 'image/png', data: 'QQ==' } }] }] }],
    'a call and its result': [{ tools, messages: [...messages, { role: 'assistant', content: null, tool_calls: [{ id: 'c1', type: 'function', function: { name: 'weather', arguments: '{"city":"Ulm"}' }, extra_content: { google: { thought_signature: 'CiQB' } } }] }, { role: 'tool', tool_call_id: 'c1', content: 'rain' }] },
        { contents: [hello, { role: 'model', parts: [{ functionCall: { id: 'c1', name: 'weather', args: { city: 'Ulm' } }, thoughtSignature: 'CiQB' }] },
            { role: 'user', parts: [{ functionResponse: { id: 'c1', name: 'weather', response: { output: 'rain' } } }] }], config: { tools: declared, toolConfig: mode('AUTO') } }],
};

/* Members in one order, and without what says nothing: the role of a prompt, an empty configuration. */
function sorted(v) {
    if (Array.isArray(v)) return v.map(sorted);
    if (v === null || typeof v !== 'object') return v;
    return Object.fromEntries(Object.keys(v).sort().filter((k) => k !== 'generationConfig' || Object.keys(v[k]).length).map((k) => [k, k === 'systemInstruction' ? sorted({ parts: v[k].parts }) : sorted(v[k])]));
}

async function written() {
    await lasting(frames['server-sent events'](answers['a text']));
    for (const [name, [ours, asIs]] of Object.entries(requests)) {
        for await (const c of await google.models.generateContentStream({ model: upstream, ...asIs })) void c;
        const want = await ask('request');
        await openai.chat.completions.create({ model, messages, ...ours });
        const got = await ask('request');
        is(sorted(got.json), sorted(want.json), `${name}: Si writes what Google's client writes`);
        is([got.path, got.key], [want.path, 'test-key'], `${name}: to the same address, with its own key`);
    }
}

run(async () => {
    for (const part of [judged, errors, written, ...(folder ? [recorded] : [])]) await part();
});
