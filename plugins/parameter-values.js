'use strict';

// The values that a parameter may have. The framework knows nothing of them, and what a wrong one
// leads to is hard to read: a variable that cannot be resolved, or a function that does not heed it.
const VALUES = {
  executionName: ['requestId', 'messageId'],
  delivery: ['direct', 'buffered', 'draining'],
  largeEvents: ['bucket', 'off'],
  deletionPolicy: ['Delete', 'Retain'],
};

class ParameterValues {
  constructor(serverless) {
    const properties = Object.fromEntries(
      Object.entries(VALUES).map(([name, values]) => [name, { enum: values }])
    );
    serverless.configSchemaHandler.defineCustomProperties({
      type: 'object',
      properties: { chosen: { type: 'object', properties, required: Object.keys(VALUES) } },
    });
  }
}

module.exports = ParameterValues;
