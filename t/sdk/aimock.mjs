/*
 * @copilotkit/aimock as the provider, in each of the dialects that it speaks, with its chaos: every call is answered when there is a
 * fallback, and without one it is an error in the client's dialect, never a part of an answer that is called whole. See aimock.t.
 *
 *   node t/sdk/aimock.mjs ADDRESS KEY PORT-FOR-AIMOCK
 */
import Anthropic from '@anthropic-ai/sdk';
import { LLMock } from '@copilotkit/aimock';
import OpenAI from 'openai';
import { is, ok, run } from './tap.mjs';

const [address, apiKey, port] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${address}/v1`, apiKey, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: address, apiKey, maxRetries: 0 });
const hello = 'Hi from the mock, which says a little more than that.', rescue = 'It is well.';
const weather = { type: 'object', properties: { city: { type: 'string' } } };
const providers = ['openai', 'responses', 'anthropic', 'gemini', 'bedrock'];

/* A call in a dialect: its text, its calls of tools, whether it says that it is whole, and what it was rejected with. */
const faces = {
    async openai(model, content, stream) {
        const got = { text: '', calls: [], whole: false };
        const q = { model, messages: [{ role: 'user', content }], tools: [{ type: 'function', function: { name: 'weather', parameters: weather } }] };
        try {
            const s = stream ? openai.chat.completions.stream(q).on('content', (t) => { got.text += t; }) : undefined;
            const r = stream ? await s.finalChatCompletion() : await openai.chat.completions.create(q);
            const m = r.choices[0].message;
            Object.assign(got, { text: m.content ?? '', whole: true, calls: (m.tool_calls ?? []).map((c) => [c.function.name, JSON.parse(c.function.arguments)]) });
        } catch (e) { got.error = e; }
        return got;
    },
    async anthropic(model, content, stream) {
        const got = { text: '', calls: [], whole: false };
        const q = { model, max_tokens: 500, messages: [{ role: 'user', content }], tools: [{ name: 'weather', input_schema: weather }] };
        try {
            const s = stream ? anthropic.messages.stream(q).on('text', (t) => { got.text += t; }) : undefined;
            const m = stream ? await s.finalMessage() : await anthropic.messages.create(q);
            const of = (type) => m.content.filter((b) => b.type === type);
            Object.assign(got, { text: of('text').map((b) => b.text).join(''), whole: true, calls: of('tool_use').map((b) => [b.name, b.input]) });
        } catch (e) { got.error = e; }
        return got;
    },
};
const isError = (e) => e instanceof OpenAI.APIError || e instanceof Anthropic.APIError;

/* Each way to call, all at once: every provider, through every face, streamed and not. */
async function each(fn) {
    const all = [];
    for (const provider of providers) {
        for (const [face, call] of Object.entries(faces)) {
            for (const stream of [false, true]) all.push(fn(`${provider} before ${face}${stream ? ', streamed' : ''}`, (model, content) => call(`${provider}-${model}`, content, stream), stream));
        }
    }
    await Promise.all(all);
}

async function well() {
    await each(async (what, call) => {
        let r = await call('alone', 'hello');
        is([r.text, r.calls, r.whole], [hello, [], true], `${what}: an answer`);
        r = await call('alone', 'weather');
        is([r.calls, r.whole], [[['weather', { city: 'Lisbon' }]], true], `${what}: a call of a tool`);
    });
}

/* Faults before the answer begins: nobody sees them when there is somebody else. */
async function chaos(mock) {
    for (const how of [{ dropRate: 1 }, { malformedRate: 1 }, { rateLimitRate: 1 }, { disconnectRate: 1 }, { latencyMs: 5000 }]) {
        const name = Object.keys(how)[0], late = name === 'latencyMs' ? '-hasty' : '';
        mock.setChaos(how);
        await each(async (what, call) => {
            let r = await call(`paired${late}`, 'hello');
            is([r.text, r.whole], [rescue, true], `${name}, ${what}: answered by the fallback`);
            r = await call(`alone${late}`, 'hello');
            ok(!r.whole && r.text === '' && isError(r.error), `${name}, ${what}: an error without one`, JSON.stringify(r));
            is(r.error.status, name === 'rateLimitRate' ? 429 : name === 'latencyMs' ? 504 : 502, `${name}, ${what}: its status`);
        });
    }
    mock.clearChaos();
}

/* Faults in the middle of it: one body is made anew, a stream cannot be. */
async function cuts() {
    await each(async (what, call, stream) => {
        let r = await call('paired', 'cut');
        if (stream) ok(!r.whole && isError(r.error), `a cut, ${what}: is an error`, JSON.stringify(r));
        else is([r.text, r.whole], [rescue, true], `a cut, ${what}: answered by the fallback`);
        r = await call('alone', 'cut');
        ok(!r.whole && isError(r.error), `a cut, ${what}: an error without one`, JSON.stringify(r));
        ok(hello.startsWith(r.text) && r.text !== hello, `a cut, ${what}: after what was said`, r.text);
    });
}

/* At random, much at once: who gets an answer gets a whole one. */
async function random(mock) {
    mock.setChaos({ dropRate: 0.2, malformedRate: 0.2, rateLimitRate: 0.2, disconnectRate: 0.2 });
    const calls = [], wrong = [];
    await each(async (what, call) => {
        for (const model of ['paired', 'alone', 'paired']) calls.push([what, model, call(model, 'hello')]);
    });
    for (const [what, model, promise] of calls) {
        const r = await promise;
        const good = r.whole ? r.text === hello || (model === 'paired' && r.text === rescue) : model === 'alone' && isError(r.error);
        if (!good) wrong.push(`${what}, ${model}: ${JSON.stringify(r)}`);
    }
    ok(wrong.length === 0, `${calls.length} calls in random chaos`, wrong.join('\n'));
    mock.clearChaos();
}

run(async () => {
    const mock = new LLMock({ port: Number(port), logLevel: 'silent' });
    mock.on({ userMessage: 'hello' }, { content: hello });
    mock.on({ userMessage: 'weather' }, { toolCalls: [{ name: 'weather', arguments: '{"city":"Lisbon"}' }] });
    mock.on({ userMessage: 'cut' }, { content: hello }, { chunkSize: 4, truncateAfterChunks: 8, latency: 50 });
    await mock.start();
    try {
        for (const part of [well, chaos, cuts, random, well]) await part(mock);
    } finally {
        await mock.stop();
    }
});
