import { render } from './render.ts';
import { validate } from './validate.ts';
import { ApiError, invalid, type Wire } from './wire.ts';

const TYPES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  529: 'overloaded_error',
};

/** Anthropic's Messages. */
export const anthropicWire: Wire = {
  requestIdHeader: 'request-id',

  checkHeaders(headers) {
    const bearer = /^Bearer\s+\S/.test(headers.authorization ?? '');
    if (!bearer && !headers['x-api-key']) {
      const message = 'offline-model: send any API key, as `authorization` or `x-api-key`';
      throw new ApiError(401, 'authentication_error', message);
    }
    if (headers['anthropic-version'] === undefined) throw invalid('anthropic-version: header is required');
  },

  read: validate,
  render,
  errorType: (status) => TYPES[status] ?? 'api_error',
  errorBody: ({ type, message }, requestId) => ({
    type: 'error',
    error: { type, message },
    request_id: requestId || null,
  }),
};
