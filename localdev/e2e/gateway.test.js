// The official OpenAI client against each gateway, as an application would use it:
// one base URL, one token, and nothing that depends on the cloud behind it.
//
// Prompts steer the stand-in model: #say(...) is answered word for word, a tool
// that is mentioned by its name is called, #fail(...) fails.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import OpenAI from 'openai';

import { origin, pairs, required } from './env.js';

const models = pairs('POSTERN_E2E_MODELS');

const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather in a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

const user = (content) => ({ role: 'user', content });

for (const [cloud, address] of pairs('POSTERN_E2E_GATEWAYS')) {
  const model = models.get(cloud);
  const connect = (apiKey) => new OpenAI({ baseURL: `${origin(address)}/v1`, apiKey, maxRetries: 0 });
  const client = connect(required('POSTERN_E2E_TOKEN'));

  describe(`${cloud} gateway`, { concurrency: true }, () => {
    test('has a model for this test', () => assert.ok(model, `POSTERN_E2E_MODELS names no model for ${cloud}`));

    test('lists its models', async () => {
      const listed = [];
      for await (const item of client.models.list()) listed.push(item);
      const found = listed.find((item) => item.id === model);
      assert.ok(found, `${model} is not among ${listed.map((item) => item.id)}`);
      assert.equal(found.object, 'model');
    });

    test('answers a chat', async () => {
      const answer = await client.chat.completions.create({
        model,
        messages: [{ role: 'system', content: 'Be brief.' }, user('#say(Good morning, world.)')],
        max_completion_tokens: 100,
      });
      assert.equal(answer.object, 'chat.completion');
      assert.equal(answer.choices.length, 1);
      assert.equal(answer.choices[0].finish_reason, 'stop');
      assert.equal(answer.choices[0].message.role, 'assistant');
      assert.equal(answer.choices[0].message.content, 'Good morning, world.');
      wholeUsage(answer.usage);
    });

    test('keeps roles, turns and images apart', async () => {
      const pixel = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
      const answer = await client.chat.completions.create({
        model,
        messages: [
          { role: 'developer', content: 'Mind the gap.' },
          user('First.'),
          { role: 'assistant', content: 'Yes?' },
          user([{ type: 'text', text: 'Second.' }, { type: 'image_url', image_url: { url: pixel } }]),
        ],
      });
      const text = answer.choices[0].message.content;
      for (const part of ['Second.', 'Mind the gap.', 'turn 2', 'image/png']) {
        assert.ok(text.includes(part), `"${part}" did not arrive: ${text}`);
      }
    });

    test('cuts an answer at its limit and says so', async () => {
      const answer = await client.chat.completions.create({
        model,
        messages: [user('#long(50)')],
        max_completion_tokens: 5,
      });
      assert.equal(answer.choices[0].finish_reason, 'length');
    });

    test('streams an answer with its usage in the last chunk', async () => {
      const chunks = await streamed(client, {
        model,
        messages: [user('#say(one two three four five six)')],
        stream_options: { include_usage: true },
      });
      const last = chunks.pop();
      assert.deepEqual(last.choices, []);
      wholeUsage(last.usage);
      assert.ok(chunks.every((chunk) => chunk.usage == null), 'usage came before the last chunk');
      assert.ok(chunks.every((chunk) => chunk.object === 'chat.completion.chunk'));
      assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1, 'the chunks have different ids');
      assert.ok(chunks.length > 3, `only ${chunks.length} chunks: this was no stream`);
      const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');
      assert.equal(text, 'one two three four five six');
      const reasons = chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean);
      assert.deepEqual(reasons, ['stop']);
      assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
    });

    test('streams no usage that nobody asked for', async () => {
      const chunks = await streamed(client, { model, messages: [user('#say(one two)')] });
      assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && chunk.usage == null));
    });

    test('makes a full tool round trip', async () => {
      const messages = [user('Please call get_weather for Oslo.')];
      const asked = await client.chat.completions.create({ model, messages, tools: [weather] });
      const { message, finish_reason } = asked.choices[0];
      assert.equal(finish_reason, 'tool_calls');
      assert.equal(message.tool_calls.length, 1);
      const [call] = message.tool_calls;
      assert.equal(call.type, 'function');
      assert.equal(call.function.name, 'get_weather');
      assert.equal(typeof JSON.parse(call.function.arguments).city, 'string');

      messages.push(message, { role: 'tool', tool_call_id: call.id, content: 'It is 17 degrees there.' });
      const answer = await client.chat.completions.create({ model, messages, tools: [weather] });
      assert.equal(answer.choices[0].finish_reason, 'stop');
      assert.match(answer.choices[0].message.content, /17 degrees/);
    });

    test('makes a full tool round trip in streams', async () => {
      const messages = [user('Please call get_weather and get_time.')];
      const time = { type: 'function', function: { name: 'get_time', parameters: { type: 'object', properties: {} } } };
      const tools = [weather, time];
      const asked = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
      const { message, finish_reason } = asked.choices[0];
      assert.equal(finish_reason, 'tool_calls');
      assert.deepEqual(message.tool_calls.map((call) => call.function.name), ['get_weather', 'get_time']);
      assert.equal(new Set(message.tool_calls.map((call) => call.id)).size, 2, 'the calls share an id');

      messages.push(message);
      for (const call of message.tool_calls) {
        JSON.parse(call.function.arguments);
        messages.push({ role: 'tool', tool_call_id: call.id, content: `result of ${call.function.name}` });
      }
      const answer = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
      assert.equal(answer.choices[0].finish_reason, 'stop');
      assert.match(answer.choices[0].message.content, /result of get_weather.*result of get_time/s);
    });

    test('calls the one tool that tool_choice names', async () => {
      const answer = await client.chat.completions.create({
        model,
        messages: [user('Hello.')],
        tools: [weather],
        tool_choice: { type: 'function', function: { name: 'get_weather' } },
      });
      assert.equal(answer.choices[0].message.tool_calls[0].function.name, 'get_weather');
    });

    test('refuses a token that is not one', async () => {
      const err = await failure(connect('not-a-token').chat.completions.create({ model, messages: [user('Hi')] }));
      assert.ok(err instanceof OpenAI.AuthenticationError, String(err));
      assert.equal(err.status, 401);
      assert.equal(err.code, 'invalid_api_key');
    });

    test('does not know a model', async () => {
      const err = await failure(client.chat.completions.create({ model: 'no-such-model', messages: [user('Hi')] }));
      assert.ok(err instanceof OpenAI.NotFoundError, String(err));
      assert.equal(err.code, 'model_not_found');
      assert.equal(err.type, 'invalid_request_error');
    });

    test('names the parameter of a bad request', async () => {
      const err = await failure(client.chat.completions.create({ model, messages: [user('Hi')], temperature: 'warm' }));
      assert.ok(err instanceof OpenAI.BadRequestError, String(err));
      assert.equal(err.code, 'invalid_type');
      assert.equal(err.param, 'temperature');
      assert.equal(err.type, 'invalid_request_error');
    });

    test('passes on that the upstream limits the rate, and for how long', async () => {
      const err = await failure(client.chat.completions.create({ model, messages: [user('#fail(429,3)')] }));
      assert.ok(err instanceof OpenAI.RateLimitError, String(err));
      assert.equal(err.code, 'rate_limit_exceeded');
      assert.equal(err.headers.get('retry-after'), '3');
    });

    test('ends a stream that breaks with an error', async () => {
      const seen = [];
      const stream = await client.chat.completions.create({ model, stream: true, messages: [user('#break() #long(40)')] });
      const err = await failure((async () => {
        for await (const chunk of stream) seen.push(chunk);
      })());
      assert.ok(seen.length > 0, 'it broke before the first chunk');
      assert.ok(err instanceof OpenAI.APIError, String(err));
      assert.equal(err.code, 'upstream_stream_interrupted');
    });
  });
}

// streamed returns all the chunks of a stream.
async function streamed(client, params) {
  const chunks = [];
  for await (const chunk of await client.chat.completions.create({ ...params, stream: true })) chunks.push(chunk);
  return chunks;
}

function wholeUsage(usage) {
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0, JSON.stringify(usage));
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

// failure returns what a promise fails with.
async function failure(promise) {
  try {
    await promise;
  } catch (err) {
    return err;
  }
  return assert.fail('it did not fail');
}
