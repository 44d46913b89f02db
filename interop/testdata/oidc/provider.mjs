// An OpenID provider on loopback, for the tests of this folder's parent. What it decides is decided by the npm package
// oidc-provider; ours are the person who logs in, the API, the latency and the books.
//
//   node provider.mjs FOLDER CONFIG
//
// FOLDER has the package in its node_modules. CONFIG is a JSON object:
//   clients         client metadata, as in OpenID Connect Dynamic Client Registration
//   accessTokenTTL  how long access tokens live, in seconds
//   interval        the interval that device authorization responses name, in seconds
//   slowDowns       how many polls of a device code are answered with slow_down before the others
//   latency         how long a request is on its way to the token endpoint, and the reply back, in ms; to the API it takes up to
//                   eight times as long, so that some come with a token that has been replaced meanwhile
//   deny            the person says no to every login
//
// It prints one line, "listening at ISSUER", and ends when its standard input does.

import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const [folder, text] = process.argv.slice(2);
const config = JSON.parse(text);
const require = createRequire(path.join(folder, 'package.json'));
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const person = 'person';

// The books. Each of byGrant and byClientAuth counts requests that were answered with tokens.
const books = {
  tokenRequests: 0, // at the token endpoint
  byGrant: {},
  byClientAuth: {}, // by the method that the client is registered with
  errors: {}, // of the token endpoint, by code
  reasons: {}, // of the same, in the provider's own words, which it keeps to itself
  mostInFlight: 0, // at the token endpoint
  grantsRevoked: 0,
  accessTokens: 0, // issued
  earlyPolls: 0, // polls of a device code before the interval was over
  deviceAuthorizations: 0,
  discoveries: 0, // metadata documents served
  revocations: 0,
  introspections: 0,
  logins: 0, // authorization requests answered with a code, or device codes approved
  apiRequests: 0, // by their ids: a replay has that of its request
  apiFailed: 0, // those among them that got no 200 in the end
  api401: 0, // answers
  serverErrors: 0, // the provider's own
};
const add = (table, key) => { table[key] = (table[key] ?? 0) + 1; };

const server = http.createServer();
await new Promise((listening) => { server.listen(0, '127.0.0.1', listening); });
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: config.clients,
  scopes: ['openid', 'offline_access', 'api'],
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none'],
  enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'EdDSA'] },
  cookies: { keys: ['of a process that lives for one test'] },
  interactions: { url: (ctx, interaction) => `/person/${interaction.uid}` },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  // A refresh token works once. When a used one comes again, the provider revokes the whole grant.
  rotateRefreshToken: true,
  ttl: {
    AccessToken: config.accessTokenTTL,
    ClientCredentials: config.accessTokenTTL,
    AuthorizationCode: 60,
    DeviceCode: 600,
    Grant: 3600,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: 3600,
    Session: 3600,
  },
});

provider.on('grant.revoked', () => { books.grantsRevoked += 1; });
provider.on('access_token.saved', () => { books.accessTokens += 1; });
provider.on('client_credentials.saved', () => { books.accessTokens += 1; });
provider.on('authorization.success', () => { books.logins += 1; });
provider.on('server_error', (ctx, err) => {
  books.serverErrors += 1;
  console.error(err);
});

// When the next poll of each device code is due. A slow_down adds 5 s (RFC 8628, section 3.5).
const polls = new Map();

// The provider has no slow_down of its own: of the polls that it answers with authorization_pending, the first ones get it instead.
function judgePoll(ctx) {
  const code = ctx.oidc.params.device_code;
  const poll = polls.get(code) ?? { slow: config.slowDowns ?? 0, interval: config.interval * 1000, due: 0 };
  polls.set(code, poll);
  if (ctx.state.arrived < poll.due) {
    books.earlyPolls += 1;
  }
  if (ctx.body?.error === 'authorization_pending' && poll.slow > 0) {
    poll.slow -= 1;
    poll.interval += 5000;
    ctx.body = { error: 'slow_down' };
  }
  poll.due = performance.now() + poll.interval;
}

let inFlight = 0;
provider.use(async (ctx, next) => {
  if (ctx.path !== '/token') {
    await next();
    switch (ctx.oidc?.route) {
      case 'discovery': books.discoveries += 1; break;
      case 'revocation': books.revocations += 1; break;
      case 'introspection': books.introspections += 1; break;
      case 'device_authorization':
        books.deviceAuthorizations += 1;
        if (ctx.status === 200) {
          ctx.body.interval = config.interval;
        }
        break;
      default:
    }
    return;
  }
  ctx.state.arrived = performance.now();
  books.tokenRequests += 1;
  inFlight += 1;
  books.mostInFlight = Math.max(books.mostInFlight, inFlight);
  await sleep(config.latency);
  await next();
  if (ctx.oidc?.params?.device_code) {
    judgePoll(ctx);
  }
  if (ctx.status === 200) {
    add(books.byGrant, ctx.oidc.params.grant_type);
    add(books.byClientAuth, ctx.oidc.client.clientAuthMethod);
  } else {
    add(books.errors, ctx.body?.error ?? `status ${ctx.status}`);
  }
  await sleep(config.latency);
  inFlight -= 1;
});

provider.on('grant.error', (ctx, err) => { add(books.reasons, err.error_detail ?? err.error_description); });

// interact is the person: logs in, and agrees to all that is asked for, or to nothing.
async function interact(req, res) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res);
  if (config.deny) {
    await provider.interactionFinished(req, res, { error: 'access_denied' }, { mergeWithLastSubmission: false });
    return;
  }
  if (prompt.name === 'login') {
    await provider.interactionFinished(req, res, { login: { accountId: person } }, { mergeWithLastSubmission: false });
    return;
  }
  const grant = (grantId && await provider.Grant.find(grantId))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(' '));
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}

const requests = new Set(); // that the API got, by id
const unserved = new Set();

// find returns a valid access token of the provider.
async function find(value) {
  const token = await provider.AccessToken.find(value) ?? await provider.ClientCredentials.find(value);
  return token?.isValid ? token : undefined;
}

// api is the resource that the tokens are for.
async function api(req, res) {
  const id = req.headers['x-request-id'] ?? `#${requests.size}`;
  requests.add(id);
  unserved.add(id);
  await sleep(8 * config.latency * Math.random());
  const [, value] = /^Bearer ([^ ]+)$/i.exec(req.headers.authorization ?? '') ?? [];
  const token = value && await find(value);
  if (!token) {
    books.api401 += 1;
    res.setHeader('WWW-Authenticate', value ? 'Bearer realm="api", error="invalid_token"' : 'Bearer realm="api"');
    res.writeHead(401).end('the access token is not valid\n');
  } else if (!token.scope?.split(' ').includes('api')) {
    res.setHeader('WWW-Authenticate', 'Bearer realm="api", error="insufficient_scope", scope="api"');
    res.writeHead(403).end('the access token is not for this\n');
  } else {
    unserved.delete(id);
    res.writeHead(200).end('served\n');
  }
}

// end ends an access token and leaves its grant alone. RFC 7009 cannot: the provider ends its refresh tokens with it.
async function end(req, res) {
  const chunks = await req.toArray();
  const token = await find(new URLSearchParams(Buffer.concat(chunks).toString()).get('token'));
  await token?.destroy();
  res.writeHead(token ? 200 : 404).end();
}

async function count(req, res) {
  res.setHeader('Content-Type', 'application/json');
  res.end(JSON.stringify({ ...books, apiRequests: requests.size, apiFailed: unserved.size }));
}

const callback = provider.callback();
const ours = { api, end, count, person: interact };
server.on('request', (req, res) => {
  const own = ours[req.url.split(/[/?]/)[1]];
  if (!own) {
    callback(req, res);
    return;
  }
  own(req, res).catch((err) => {
    console.error(err);
    res.writeHead(500).end();
  });
});

process.stdin.resume().on('end', () => process.exit());
console.log(`listening at ${issuer}`);
