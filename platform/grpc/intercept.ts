import {
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  status,
} from '@grpc/grpc-js';
import { DEADLINE_KEY } from './call.ts';
import { ERROR_TRAILER, ofTransport, toStatusText, toTrailer } from './errors.ts';

type SendStatus = ServerInterceptingCallInterface['sendStatus'];

/** Some statuses are grpc-js' own (message too large, deadline, bad compression): they get the trailer too. */
function explained(send: SendStatus): SendStatus {
  return (answer) => {
    if (answer.code === status.OK || (answer.metadata?.get(ERROR_TRAILER).length ?? 0) > 0) return send(answer);
    const error = ofTransport(answer.code, answer.details);
    const metadata = answer.metadata?.clone() ?? new Metadata();
    metadata.set(ERROR_TRAILER, Buffer.from(toTrailer(error)));
    return send({ ...answer, details: toStatusText(error), metadata });
  };
}

/**
 * Hands the caller's deadline on to the handler, which nice-grpc does not, and gives statuses of grpc-js' own making
 * their ErrorDetail.
 */
export const interceptCalls: ServerInterceptor = (_method, call) => {
  // grpc-js calls its own method on this object, past all interceptors; so it is replaced here.
  call.sendStatus = explained(call.sendStatus.bind(call));
  return new ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata: (metadata, forward) => {
          metadata.set(DEADLINE_KEY, String(Number(call.getDeadline())));
          forward(metadata);
        },
      }),
  });
};
