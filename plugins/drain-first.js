'use strict';

// A deployment with delivery "direct" removes EventQueue with all that waits in it, and each
// deployment without --param delivery=… is one. So it is refused while something waits.
class DrainFirst {
  constructor(serverless) {
    this.serverless = serverless;
    this.hooks = { 'before:deploy:deploy': () => this.check() };
  }

  async check() {
    if (this.serverless.service.custom.chosen.delivery !== 'direct') return;
    const provider = this.serverless.getProvider('aws');
    const url = await eventQueueUrl(provider);
    const waiting = url ? await messages(provider, url) : 0;
    if (waiting > 0) {
      throw new this.serverless.classes.Error(
        `${waiting} messages are in EventQueue, which delivery "direct" would remove: first deploy ` +
          'with --param delivery=draining (or buffered, as before), and wait until it is empty'
      );
    }
  }
}

async function eventQueueUrl(provider) {
  const StackName = provider.naming.getStackName();
  try {
    const { Stacks } = await provider.request('CloudFormation', 'describeStacks', { StackName });
    const output = (Stacks[0].Outputs || []).find((one) => one.OutputKey === 'EventQueueUrl');
    return output ? output.OutputValue : null;
  } catch (error) {
    if (/does not exist/.test(error.message)) return null;
    throw error;
  }
}

async function messages(provider, QueueUrl) {
  const names = ['', 'NotVisible', 'Delayed'].map((state) => `ApproximateNumberOfMessages${state}`);
  const { Attributes } = await provider.request('SQS', 'getQueueAttributes', {
    QueueUrl,
    AttributeNames: names,
  });
  return names.reduce((sum, name) => sum + Number(Attributes[name] || 0), 0);
}

module.exports = DrainFirst;
