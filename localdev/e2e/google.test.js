// Google's official clients against the stand-ins of Vertex AI and of the metadata
// server: what the gateway meets on its far side is what these meet.

import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { ApiError, GoogleGenAI } from '@google/genai';
import { GoogleAuth } from 'google-auth-library';

import { origin, required } from './env.js';

// The identity must come from the metadata server, never from a developer's own
// login on this machine.
delete process.env.GOOGLE_APPLICATION_CREDENTIALS;
process.env.CLOUDSDK_CONFIG = mkdtempSync(join(tmpdir(), 'gcloud-'));
required('GCE_METADATA_HOST');

const cloudPlatform = 'https://www.googleapis.com/auth/cloud-platform';
const auth = new GoogleAuth({ scopes: [cloudPlatform] });
const location = process.env.POSTERN_E2E_VERTEX_LOCATION ?? 'europe-west4';
const model = process.env.POSTERN_E2E_VERTEX_MODEL ?? 'gemini-2.5-flash';

async function vertex() {
  return new GoogleGenAI({
    vertexai: true,
    apiVersion: 'v1',
    project: await auth.getProjectId(),
    location,
    googleAuthOptions: { scopes: [cloudPlatform] },
    httpOptions: { baseUrl: origin(required('POSTERN_E2E_VERTEX_URL')) },
  });
}

test('google-auth-library finds the service account and its token', async () => {
  assert.match(await auth.getAccessToken(), /^ya29\./);
  const { client_email: email } = await auth.getCredentials();
  assert.match(email, /@.+\.iam\.gserviceaccount\.com$/);
});

test('google-auth-library gets an identity token for an audience', async () => {
  const client = await auth.getIdTokenClient('https://audience.example');
  const headers = await client.getRequestHeaders();
  const token = headers.get('Authorization').split(' ')[1];
  const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
  assert.equal(claims.aud, 'https://audience.example');
});

test('@google/genai gets an answer', async () => {
  const answer = await (await vertex()).models.generateContent({
    model,
    contents: '#say(Good morning, world.)',
    config: { systemInstruction: 'Be brief.', maxOutputTokens: 100, temperature: 0.5 },
  });
  assert.equal(answer.text, 'Good morning, world.');
  assert.equal(answer.candidates[0].finishReason, 'STOP');
  const usage = answer.usageMetadata;
  assert.equal(usage.totalTokenCount, usage.promptTokenCount + usage.candidatesTokenCount);
});

test('@google/genai streams an answer', async () => {
  const parts = [];
  const stream = await (await vertex()).models.generateContentStream({ model, contents: '#say(one two three four five six)' });
  for await (const chunk of stream) parts.push(chunk);
  assert.ok(parts.length > 3, `only ${parts.length} messages: this was no stream`);
  assert.equal(parts.map((part) => part.text ?? '').join(''), 'one two three four five six');
  assert.equal(parts.at(-1).candidates[0].finishReason, 'STOP');
});

test('@google/genai makes a full tool round trip', async () => {
  const client = await vertex();
  const config = {
    tools: [{
      functionDeclarations: [{
        name: 'get_weather',
        description: 'The weather in a city',
        parametersJsonSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
      }],
    }],
  };
  const contents = [{ role: 'user', parts: [{ text: 'Please call get_weather for Oslo.' }] }];
  const asked = await client.models.generateContent({ model, contents, config });
  assert.equal(asked.functionCalls.length, 1);
  assert.equal(asked.functionCalls[0].name, 'get_weather');
  assert.equal(typeof asked.functionCalls[0].args.city, 'string');

  contents.push(asked.candidates[0].content, {
    role: 'user',
    parts: [{ functionResponse: { name: 'get_weather', response: { output: 'It is 17 degrees there.' } } }],
  });
  const answer = await client.models.generateContent({ model, contents, config });
  assert.match(answer.text, /17 degrees/);
});

test('@google/genai understands an error', async () => {
  const client = await vertex();
  await assert.rejects(client.models.generateContent({ model, contents: '#fail(429)' }), (err) => {
    assert.ok(err instanceof ApiError, String(err));
    assert.equal(err.status, 429);
    assert.equal(JSON.parse(err.message).error.status, 'RESOURCE_EXHAUSTED');
    return true;
  });
});
