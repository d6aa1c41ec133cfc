// Microsoft's official identity client against the stand-in of the managed identity
// endpoint that Functions gives an app.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CredentialUnavailableError, ManagedIdentityCredential } from '@azure/identity';

import { required } from './env.js';

required('IDENTITY_ENDPOINT');
required('IDENTITY_HEADER');

const scope = 'https://cognitiveservices.azure.com/.default';
// Set where the app has a user-assigned identity; else the system's is asked for.
const clientId = process.env.POSTERN_E2E_AZURE_CLIENT_ID;
const options = clientId ? { clientId } : {};

test('@azure/identity gets a token for the model service', async () => {
  const token = await new ManagedIdentityCredential(options).getToken(scope);
  assert.ok(token.token.length > 20);
  assert.ok(token.expiresOnTimestamp > Date.now() + 60_000, 'the token is about to expire');
});

test('@azure/identity gets different tokens for different services', async () => {
  const credential = new ManagedIdentityCredential(options);
  const [model, vault] = await Promise.all([credential.getToken(scope), credential.getToken('https://vault.azure.net/.default')]);
  assert.notEqual(model.token, vault.token);
});

test('@azure/identity is refused an identity that the app does not have', async () => {
  const stranger = new ManagedIdentityCredential({ clientId: '99999999-9999-4999-8999-999999999999' });
  await assert.rejects(stranger.getToken(scope), (err) => {
    assert.ok(err instanceof CredentialUnavailableError, String(err));
    assert.match(err.message, /No User Assigned/);
    return true;
  });
});
