/* Driven by responses.t: node responses.mjs URL KEY */
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { ask, fails, is, ok, run } from './tap.mjs';

const [url, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 30_000 });
const model = 'fake-1', input = 'Hello';
let asked = 0;

/* The provider's next answers; the last request that it got. */
const next = (...how) => ask(`next ${JSON.stringify(how.length === 1 ? how[0] : how)}`);
const request = () => ask(`request ${++asked}`);
const raw = (...events) => ({ kind: 'raw', bytes: 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n'
    + events.map((e) => `data: ${typeof e === 'string' ? e : JSON.stringify(e)}\n\n`).join('') });
const delta = (d, finish_reason = null) => ({ choices: [{ index: 0, delta: d, finish_reason }] });
const usage = { choices: [], usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18, prompt_tokens_details: { cached_tokens: 5 }, completion_tokens_details: { reasoning_tokens: 3 } } };
const says = (...deltas) => raw(...deltas.map((d) => delta(d)), delta({}, deltas.some((d) => d.tool_calls) ? 'tool_calls' : 'stop'), usage, '[DONE]');
const weather = [{ index: 0, id: 'call_1', type: 'function', function: { name: 'weather', arguments: '' } },
    { index: 0, function: { arguments: '{"city":' } }, { index: 0, function: { arguments: '"Lisbon"}' } }].map((p) => ({ tool_calls: [p] }));
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const tools = [{ type: 'function', name: 'weather', description: 'the weather', parameters, strict: true }];

async function whole() {
    await next(says({ reasoning_content: 'hm' }, { content: 'Hel' }, { content: 'lo Grüße 😀' }));
    const r = await client.responses.create({ model, input, instructions: 'Be brief.' });
    is((await request()).messages.map((m) => m.content), ['Be brief.', 'Hello'], 'the provider gets instructions and input');
    is([r.object, r.status, r.output_text, r.output.map((i) => i.type)], ['response', 'completed', 'Hello Grüße 😀', ['reasoning', 'message']], 'an answer');
    is([r.usage.input_tokens, r.usage.output_tokens, r.usage.total_tokens, r.usage.input_tokens_details.cached_tokens, r.usage.output_tokens_details.reasoning_tokens],
        [11, 7, 18, 5, 3], 'its usage');
}

async function stream() {
    await next(says({ content: 'a' }, { content: 'b' }));
    let text = '', last = -1, inOrder = true, end;
    for await (const e of await client.responses.create({ model, input, stream: true })) {
        inOrder &&= e.sequence_number === last + 1;
        last = e.sequence_number;
        text += e.type === 'response.output_text.delta' ? e.delta : '';
        end = e;
    }
    await request();
    is([text, inOrder, end.type, end.response.usage.total_tokens], ['ab', true, 'response.completed', 18], 'a stream');

    await next(says({ reasoning_content: 'hm' }, { content: 'Hi ' }, ...weather));
    const helper = client.responses.stream({ model, input, tools });
    const seen = [];
    helper.on('response.output_text.delta', (e) => seen.push(e.snapshot)).on('response.function_call_arguments.delta', (e) => seen.push(e.snapshot));
    const final = await helper.finalResponse();
    await request();
    is([final.output_text, final.output.at(-1).arguments, final.output.at(-1).parsed_arguments, final.status], ['Hi ', '{"city":"Lisbon"}', { city: 'Lisbon' }, 'completed'],
        'its helper puts the pieces together');
    ok(seen.includes('Hi ') && seen.includes('{"city":"Lisbon"}'), 'and shows them as they grow', seen);
}

async function loop() {
    await next(says({ content: 'I look' }, ...weather), says({ content: 'Sunny.' }));
    const talk = [{ role: 'user', content: 'How is it?' }];
    const first = await client.responses.create({ model, input: talk, tools });
    await request();
    talk.push(...first.output);
    for (const call of first.output.filter((i) => i.type === 'function_call')) talk.push({ type: 'function_call_output', call_id: call.call_id, output: 'sun' });
    const second = await client.responses.create({ model, input: talk, tools });
    is(second.output_text, 'Sunny.', 'a call of a tool, and its result');
    const sent = (await request()).messages;
    is(sent.map((m) => [m.role, m.content]), [['user', 'How is it?'], ['assistant', 'I look'], ['tool', 'sun']], 'the provider gets what was said before');
    is([sent[1].tool_calls[0].id, sent[1].tool_calls[0].function.arguments, sent[2].tool_call_id], ['call_1', '{"city":"Lisbon"}', 'call_1'], 'with the call');
}

async function structured() {
    await next(says({ content: '{"name":"Ada",' }, { content: '"age":36}' }));
    const shape = z.object({ name: z.string(), age: z.number() });
    const r = await client.responses.parse({ model, input, text: { format: zodTextFormat(shape, 'person') } });
    is(r.output_parsed, { name: 'Ada', age: 36 }, 'a shape is kept');
    const format = (await request()).response_format;
    is([format.type, format.json_schema.name, format.json_schema.strict], ['json_schema', 'person', true], 'the provider gets it');
}

async function errors() {
    const create = (more) => client.responses.create({ model, input, ...more });
    let e = await fails(create({ previous_response_id: 'resp_1' }), OpenAI.BadRequestError, 'a response that was stored');
    is([e.status, e.code, e.param], [400, 'invalid_field', 'previous_response_id'], 'what is said of it');
    e = await fails(create({ store: true }), OpenAI.BadRequestError, 'to be stored');
    is(e.param, 'store', 'what is said of it');
    await fails(create({ model: 'none' }), OpenAI.NotFoundError, 'a model that is not there');
    await next({ kind: 'cut', after: 2 });
    const types = [];
    await fails((async () => { for await (const ev of await create({ stream: true })) types.push(ev.type); if (types.at(-1) === 'response.failed') throw new Error('failed'); })(), Error,
        'an answer that breaks off is no whole one');
    await request();
    ok(!types.includes('response.completed'), 'nothing says that it is complete', types);
}

async function aborts() {
    await next({ kind: 'step' });
    const opened = client.responses.create({ model, input, stream: true });     /* answered with the first word */
    const n = ++asked;
    await ask(`request ${n}`);
    await ask('go word');
    const s = await opened;
    for await (const e of s) if (e.type === 'response.output_text.delta') break;
    s.controller.abort();
    await ask(`closed ${n}`);
    ok(true, 'a client that goes ends the call of the provider');
}

await run(async () => {
    await whole();
    await stream();
    await loop();
    await structured();
    await errors();
    await aborts();
});
