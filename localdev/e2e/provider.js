// A certified OpenID Connect provider, by which the gateways are tested with a
// real issuer: authorization codes with PKCE, tokens for a resource, levels of
// authentication, and tokens that are bound to a key (DPoP). Who comes to sign in
// is let in as alice, with as much as was asked for.
//
// It says on its first line where it is, and ends with its standard input.

import { createServer } from 'node:http';
import process from 'node:process';

import Provider from 'oidc-provider';

const resource = 'https://llm.example.com';

function configuration() {
  return {
    clients: [
      {
        client_id: 'app', token_endpoint_auth_method: 'none', grant_types: ['authorization_code'], response_types: ['code'],
        redirect_uris: ['http://127.0.0.1/callback'], application_type: 'native',
      },
      {
        client_id: 'job', client_secret: 'a secret of the job', grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
      },
    ],
    acrValues: ['pwd', 'phr'],
    claims: { openid: ['sub'], acr: null, auth_time: null, amr: null },
    pkce: { required: () => true },
    findAccount: (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    // RFC 9470 section 6: an access token says how its user has authenticated.
    extraTokenClaims(ctx) {
      const code = ctx.oidc.entities.AuthorizationCode;
      return code ? { acr: code.acr, amr: code.amr, auth_time: code.authTime } : undefined;
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, indicator) => ({
          scope: 'llm.invoke', audience: indicator, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  };
}

// signIn finishes an interaction: the sign-in with the level that was asked
// for, and the consent.
async function signIn(provider, req, res) {
  const details = await provider.interactionDetails(req, res);
  const { params, prompt } = details;
  if (prompt.name === 'login') {
    const strong = (params.acr_values ?? '').split(' ').includes('phr');
    await provider.interactionFinished(req, res, {
      login: { accountId: 'alice', acr: strong ? 'phr' : 'pwd', amr: strong ? ['pwd', 'hwk'] : ['pwd'] },
    }, { mergeWithLastSubmission: false });
    return;
  }
  const grant = new provider.Grant({ accountId: 'alice', clientId: params.client_id });
  grant.addOIDCScope('openid');
  grant.addResourceScope(params.resource, 'llm.invoke');
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration());
  const callback = provider.callback();
  server.on('request', (req, res) => {
    if (!req.url.startsWith('/interaction/')) {
      callback(req, res);
      return;
    }
    signIn(provider, req, res).catch((error) => {
      res.statusCode = 500;
      res.end(String(error));
    });
  });
  process.stdout.write(`${issuer} ${resource}\n`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
