'use strict';

// serverless-resources-env reads functions.<name>.custom['env-resources'], but never tells the
// framework's schema of it: a warning, and an error under configValidationMode: error.
class FunctionCustom {
  constructor(serverless) {
    serverless.configSchemaHandler.defineFunctionProperties('aws', {
      properties: {
        custom: {
          type: 'object',
          properties: { 'env-resources': { type: 'array', items: { type: 'string' } } },
          required: ['env-resources'],
          additionalProperties: false,
        },
      },
    });
  }
}

module.exports = FunctionCustom;
