'use strict';

// Stage "local" talks to this endpoint alone, with credentials that are worth nothing, so that it
// can never reach an AWS account, whatever the developer's environment and profiles hold.
// It must be the first plugin: serverless-resources-env makes its clients when it is loaded.
const STAGE = 'local';
const DEFAULT_ENDPOINT = 'http://127.0.0.1:4566';
// The names that the framework reads; a proxy knows nothing of an endpoint on this machine.
const PROXIES = ['proxy', 'HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'];

class LocalEndpoint {
  constructor(serverless) {
    const provider = serverless.getProvider('aws');
    if (provider.getStage() !== STAGE) return;

    const endpoint = process.env.AWS_ENDPOINT_URL || DEFAULT_ENDPOINT;
    refuseAws(endpoint, serverless);
    for (const name of PROXIES) delete process.env[name];
    pointSdkV2(provider, endpoint);
    pointSdkV3(provider, endpoint);
  }
}

function refuseAws(endpoint, serverless) {
  if (/(^|\.)(amazonaws\.com(\.cn)?|api\.aws)$/.test(new URL(endpoint).hostname)) {
    throw new serverless.classes.Error(
      `Stage "${STAGE}" must not use AWS, but AWS_ENDPOINT_URL is ${endpoint}`
    );
  }
}

// The framework's own calls and serverless-resources-env's.
function pointSdkV2(provider, endpoint) {
  const credentials = new provider.sdk.Credentials({
    accessKeyId: 'local',
    secretAccessKey: 'local',
  });
  provider.sdk.config.update({
    endpoint,
    credentials,
    // A bucket's name in the host name would need an entry in DNS.
    s3ForcePathStyle: true,
    httpOptions: { agent: undefined },
  });
  // The provider hands its own credentials to each client, and this is where it keeps them.
  provider.cachedCredentials = { credentials };
}

// serverless-step-functions' calls.
function pointSdkV3(provider, endpoint) {
  const original = provider.getAwsSdkV3Config.bind(provider);
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  provider.getAwsSdkV3Config = (options) => original({ ...options, endpoint, credentials });
}

module.exports = LocalEndpoint;
