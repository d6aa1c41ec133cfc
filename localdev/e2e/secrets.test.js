// The vendors' official clients against the stand-ins of the stores that keep
// secrets: what a rotation does there by its own requests is what these do.

import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { ManagedIdentityCredential } from '@azure/identity';
import { SecretClient } from '@azure/keyvault-secrets';
import { SecretManagerServiceClient } from '@google-cloud/secret-manager';
import { GoogleAuth } from 'google-auth-library';

import { required } from './env.js';

delete process.env.GOOGLE_APPLICATION_CREDENTIALS;
process.env.CLOUDSDK_CONFIG = mkdtempSync(join(tmpdir(), 'gcloud-'));
// The functions may not make secrets. Whoever has set everything up may.
process.env.GCE_METADATA_HOST = required('POSTERN_E2E_OPERATOR_METADATA_HOST');
process.env.IDENTITY_ENDPOINT = required('POSTERN_E2E_OPERATOR_IDENTITY_ENDPOINT');

function secretManager() {
  const url = new URL(required('POSTERN_E2E_SECRETMANAGER_URL'));
  return new SecretManagerServiceClient({
    auth: new GoogleAuth({ scopes: ['https://www.googleapis.com/auth/cloud-platform'] }),
    fallback: true,
    protocol: 'http',
    apiEndpoint: url.hostname,
    port: Number(url.port),
  });
}

// made makes a secret with versions of these texts.
async function made(client, secretId, ...texts) {
  const [secret] = await client.createSecret({ parent: 'projects/local-project', secretId, secret: { replication: { automatic: {} } } });
  for (const text of texts) await client.addSecretVersion({ parent: secret.name, payload: { data: Buffer.from(text) } });
  return secret.name;
}

const code = (name) => (err) => {
  assert.equal(err.code, { INVALID_ARGUMENT: 3, NOT_FOUND: 5, ALREADY_EXISTS: 6, FAILED_PRECONDITION: 9 }[name], String(err));
  return true;
};

test('@google-cloud/secret-manager reads versions by number, alias and state', async () => {
  const client = secretManager();
  const name = await made(client, 'witness-reads', 'one', 'two');
  const read = async (version) => (await client.accessSecretVersion({ name: `${name}/versions/${version}` }))[0];
  const newest = await read('latest');
  assert.equal(newest.name, `${name}/versions/2`);
  assert.equal(newest.payload.data.toString(), 'two');
  assert.equal(String(newest.payload.dataCrc32c), '1389933475');
  await assert.rejects(read('current'), code('NOT_FOUND'));
  await client.updateSecret({ secret: { name, versionAliases: { current: 1 } }, updateMask: { paths: ['version_aliases'] } });
  assert.equal((await read('current')).payload.data.toString(), 'one');
  const [disabled] = await client.disableSecretVersion({ name: `${name}/versions/1` });
  assert.equal(disabled.state, 'DISABLED');
  await assert.rejects(read('current'), code('FAILED_PRECONDITION'));
  const [versions] = await client.listSecretVersions({ parent: name, filter: 'state:ENABLED' });
  assert.deepEqual(versions.map((version) => version.name), [`${name}/versions/2`]);
});

test('@google-cloud/secret-manager changes a secret under its etag', async () => {
  const client = secretManager();
  const name = await made(client, 'witness-changes', 'one');
  const [{ etag }] = await client.getSecret({ name });
  const promote = (secret) => client.updateSecret({ secret: { name, ...secret }, updateMask: { paths: ['version_aliases', 'annotations'] } });
  const [changed] = await promote({ etag, versionAliases: { current: 1 }, annotations: { phase: 'promoted' } });
  assert.notEqual(changed.etag, etag);
  assert.equal(String(changed.versionAliases.current), '1');
  await assert.rejects(promote({ etag, versionAliases: {}, annotations: {} }), code('FAILED_PRECONDITION'));
  await assert.rejects(promote({ versionAliases: { current: 7 } }), code('INVALID_ARGUMENT'));
  await assert.rejects(promote({ versionAliases: { latest: 1 } }), code('INVALID_ARGUMENT'));
  const [destroyed] = await client.destroySecretVersion({ name: `${name}/versions/1` });
  assert.equal(destroyed.state, 'DESTROYED');
  await assert.rejects(client.destroySecretVersion({ name: `${name}/versions/1` }), code('FAILED_PRECONDITION'));
  await assert.rejects(client.enableSecretVersion({ name: `${name}/versions/1` }), code('FAILED_PRECONDITION'));
  await assert.rejects(made(client, 'witness-changes'), code('ALREADY_EXISTS'));
});

function vault() {
  // The resource of the challenge has to be the domain of the vault, unless one says otherwise.
  return new SecretClient(required('POSTERN_E2E_KEYVAULT_URL'), new ManagedIdentityCredential(), {
    disableChallengeResourceVerification: true,
    retryOptions: { maxRetries: 0 },
  });
}

test('@azure/keyvault-secrets gets a token by the challenge and reads the newest version', async () => {
  const client = vault();
  const one = await client.setSecret('witness-reads', 'one', { tags: { team: 'a' }, contentType: 'text/plain' });
  const two = await client.setSecret('witness-reads', 'two');
  assert.match(two.properties.version, /^[0-9a-f]{32}$/);
  assert.equal((await client.getSecret('witness-reads')).value, 'two');
  const old = await client.getSecret('witness-reads', { version: one.properties.version });
  assert.equal(old.value, 'one');
  assert.deepEqual(old.properties.tags, { team: 'a' });
  const versions = [];
  for await (const properties of client.listPropertiesOfSecretVersions('witness-reads')) versions.push(properties.version);
  assert.deepEqual(versions.sort(), [one.properties.version, two.properties.version].sort());
});

test('@azure/keyvault-secrets disables a version, and is refused what the vault does not take', async () => {
  const client = vault();
  const { properties } = await client.setSecret('witness-changes', 'one', { tags: { a: 'b' }, expiresOn: new Date(2100, 0, 1) });
  const disabled = await client.updateSecretProperties('witness-changes', properties.version, { enabled: false });
  assert.equal(disabled.enabled, false);
  assert.deepEqual(disabled.tags, { a: 'b' });
  const status = (wanted, wantedCode) => (err) => {
    assert.equal(err.statusCode, wanted, String(err));
    assert.equal(err.code, wantedCode);
    return true;
  };
  await assert.rejects(client.getSecret('witness-changes'), status(403, 'Forbidden'));
  await assert.rejects(client.getSecret('witness-nothing'), status(404, 'SecretNotFound'));
  await assert.rejects(client.setSecret('witness-changes', 'x'.repeat(25 * 1024 + 1)), status(400, 'BadParameter'));
  const tags = Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`t${n}`, '']));
  await assert.rejects(client.setSecret('witness-changes', 'two', { tags }), status(400, 'BadParameter'));
  const deleted = await (await client.beginDeleteSecret('witness-changes', { intervalInMs: 10 })).pollUntilDone();
  assert.equal(deleted.name, 'witness-changes');
  await assert.rejects(client.setSecret('witness-changes', 'two'), status(409, 'Conflict'));
  const back = await (await client.beginRecoverDeletedSecret('witness-changes', { intervalInMs: 10 })).pollUntilDone();
  assert.equal(back.version, properties.version);
});
