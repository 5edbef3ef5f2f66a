import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { MethodDefinition } from 'nice-grpc';

type IsStream<Kind, Side extends 'client' | 'server'> = Kind extends 'bidi_streaming' | `${Side}_streaming`
  ? true
  : false;

/** A service's methods as nice-grpc takes them: requests and answers go in as init objects, come out as messages. */
export type Definition<S extends DescService> = {
  [K in keyof S['method'] & string]: MethodDefinition<
    MessageInitShape<S['method'][K]['input']>,
    MessageShape<S['method'][K]['input']>,
    MessageInitShape<S['method'][K]['output']>,
    MessageShape<S['method'][K]['output']>,
    IsStream<S['method'][K]['methodKind'], 'client'>,
    IsStream<S['method'][K]['methodKind'], 'server'>
  >;
};

/** As `Definition`, with bytes on both sides: the server encodes and decodes itself, so that faults get its own answers. */
export type RawDefinition = Record<string, MethodDefinition<Uint8Array, Uint8Array, Uint8Array, Uint8Array>>;

/** Encodes an init object or a message. Throws where a value does not fit its field. */
export function encode<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Uint8Array {
  return toBinary(schema, create(schema, init));
}

/** Decodes a message. Throws on malformed bytes, also on text that is no UTF-8. */
export function decode<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  return fromBinary(schema, bytes);
}

/** The path of a method on the wire. */
export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

const isClientStream = (method: DescMethod): boolean =>
  method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming';
const isServerStream = (method: DescMethod): boolean =>
  method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming';

/** The nice-grpc definition of a generated service. */
export function toDefinition<S extends DescService>(service: S): Definition<S> {
  const methods = service.methods.map((method) => [
    method.localName,
    {
      path: pathOf(method),
      requestStream: isClientStream(method),
      responseStream: isServerStream(method),
      requestSerialize: (value: MessageInitShape<DescMessage>) => encode(method.input, value),
      requestDeserialize: (bytes: Uint8Array) => decode(method.input, bytes),
      responseSerialize: (value: MessageInitShape<DescMessage>) => encode(method.output, value),
      responseDeserialize: (bytes: Uint8Array) => decode(method.output, bytes),
      options: {},
    },
  ]);
  return Object.fromEntries(methods) as Definition<S>;
}

const same = (bytes: Uint8Array): Uint8Array => bytes;

/** The same paths and stream kinds, carrying bytes untouched. */
export function toRawDefinition(service: DescService): RawDefinition {
  return Object.fromEntries(
    service.methods.map((method) => [
      method.localName,
      {
        path: pathOf(method),
        requestStream: isClientStream(method),
        responseStream: isServerStream(method),
        requestSerialize: same,
        requestDeserialize: same,
        responseSerialize: same,
        responseDeserialize: same,
        options: {},
      },
    ]),
  );
}
