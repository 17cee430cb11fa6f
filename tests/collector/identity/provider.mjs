// An OpenID provider (npm oidc-provider) whose people are those of an LDAP server.  For tests only.
// Its one argument is a JSON file.  It prints one line of JSON once it answers, and ends with its input.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { Client } from 'ldapts';
import { errors, Provider } from 'oidc-provider';

const told = JSON.parse(readFileSync(process.argv[2]));
const { ldap } = told;
const people = `ou=people,${ldap.base}`;

async function withLdap(name, password, work) {
  const client = new Client({ url: ldap.url, tlsOptions: { ca: readFileSync(told.authority) } });
  try {
    await client.bind(name, password);
    return await work(client);
  } finally {
    await client.unbind().catch(() => {});
  }
}

/** Whether the LDAP server lets this person in.  An empty password would be an anonymous bind. */
async function login(name, password) {
  if (!/^[a-z]+$/.test(name) || !password) return false;
  return withLdap(`uid=${name},${people}`, password, () => true).catch(() => false);
}

/** What the LDAP server says now of somebody who is logged in. */
async function claims(name) {
  return withLdap(ldap.reader, ldap.password, async (client) => {
    const dn = `uid=${name},${people}`;
    const person = await client.search(dn, { scope: 'base', attributes: ['mail', 'cn'] });
    const groups = await client.search(`ou=groups,${ldap.base}`, {
      filter: `(member=${dn})`,
      attributes: ['cn'],
    });
    return {
      sub: name,
      name: person.searchEntries[0].cn,
      email: person.searchEntries[0].mail,
      email_verified: true,
      groups: groups.searchEntries.map((each) => each.cn),
    };
  });
}

function resourceServer(ctx, resource, client) {
  const found = told.resources[resource];
  if (!found?.clients.includes(client.clientId)) throw new errors.InvalidTarget();
  return {
    audience: found.audience,
    scope: found.scope,
    accessTokenFormat: 'jwt',
    accessTokenTTL: found.seconds,
  };
}

/** Consent is not asked for: who may use a page is decided by its group. */
async function grant(ctx) {
  const given = new ctx.oidc.provider.Grant({
    clientId: ctx.oidc.client.clientId,
    accountId: ctx.oidc.session.accountId,
  });
  given.addOIDCScope('openid email profile groups');
  await given.save();
  return given;
}

function makeProvider(issuer) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return new Provider(issuer, {
    clients: told.clients,
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    claims: { email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
    scopes: ['openid', 'email', 'profile', 'groups'],
    findAccount: (ctx, name) => ({ accountId: name, claims: () => claims(name) }),
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    loadExistingGrant: grant,
    interactions: { url: (ctx, interaction) => `/login/${interaction.uid}` },
    ttl: { Session: 600, Interaction: 600, Grant: 600, IdToken: 600, AccessToken: 600, RefreshToken: 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo: resourceServer },
    },
  });
}

async function answerLogin(provider, request, response) {
  if (request.method !== 'POST') {
    response.setHeader('Content-Type', 'text/html');
    response.end('<form method="post"><input name="name"><input name="password" type="password"></form>');
    return;
  }
  let body = '';
  for await (const chunk of request) body += chunk;
  const form = new URLSearchParams(body);
  const name = form.get('name') ?? '';
  if (!(await login(name, form.get('password') ?? ''))) {
    response.statusCode = 401;
    response.end('wrong name or password');
    return;
  }
  await provider.interactionFinished(request, response, { login: { accountId: name } });
}

/** Listen on a port of the kernel's choice; the issuer that is served there. */
async function serve() {
  const server = https.createServer({
    cert: readFileSync(told.certificate),
    key: readFileSync(told.key),
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `https://127.0.0.1:${server.address().port}`;
  const provider = makeProvider(issuer);
  const answer = provider.callback();
  server.on('request', (request, response) => {
    if (!request.url.startsWith('/login/')) {
      answer(request, response);
      return;
    }
    answerLogin(provider, request, response).catch((error) => {
      response.statusCode = 400;
      response.end(String(error));
    });
  });
  return issuer;
}

// The second one has the same clients and people, and keys of its own.
const [issuer, other] = await Promise.all([serve(), serve()]);
console.log(JSON.stringify({ issuer, other }));
process.stdin.resume().on('end', () => process.exit(0));
