/**
 * Writes an ONNX model file: the few protobuf messages of it that a traced graph needs.
 *
 * Protobuf: a message is a run of fields, each a varint tag (field number · 8 + wire type) and a value; wire type 0 is a
 * varint, 2 is bytes with a length before them, 5 is four bytes. Nested messages are bytes.
 * @see onnx.proto in the onnx/onnx repository, for the field numbers
 */

export const onnxDtypes = { float32: 1, uint16: 4, int32: 6, int64: 7, bool: 9, float16: 10, bfloat16: 16 } as const;
export type OnnxDtype = keyof typeof onnxDtypes;

export type Attribute = number | readonly number[] | string | { readonly float: number };

export interface ModelNode {
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}
export interface ModelTensor {
  readonly name: string;
  readonly dtype: OnnxDtype;
  readonly shape: readonly number[];
}
export interface ModelInitialiser extends ModelTensor {
  readonly bytes: Uint8Array;
}

export interface ModelGraph {
  readonly nodes: readonly ModelNode[];
  readonly inputs: readonly ModelTensor[];
  readonly outputs: readonly ModelTensor[];
  readonly initialisers: readonly ModelInitialiser[];
}

const irVersion = 10;
const opsetVersion = 21;
// BitCast came with opset 26; only models that need it ask for it.
const bitCastVersions = { ir: 13, opset: 26 };
const attributeTypes = { float: 1, int: 2, string: 3, ints: 7 } as const;

/** The bytes of a ModelProto. */
export function onnxModel(graph: ModelGraph): Uint8Array<ArrayBuffer> {
  const graphParts = [
    ...graph.nodes.map((node) => message(1, nodeProto(node))),
    text(2, "program"),
    ...graph.initialisers.map((tensor) => message(5, tensorProto(tensor))),
    ...graph.inputs.map((tensor) => message(11, valueInfoProto(tensor))),
    ...graph.outputs.map((tensor) => message(12, valueInfoProto(tensor))),
  ];
  const castsBits = graph.nodes.some((node) => node.op === "BitCast");
  return join(
    [
      integer(1, castsBits ? bitCastVersions.ir : irVersion),
      text(2, "deltascope"),
      message(7, graphParts),
      message(8, [text(1, ""), integer(2, castsBits ? bitCastVersions.opset : opsetVersion)]),
      message(8, [text(1, "com.microsoft"), integer(2, 1)]),
    ].flat(),
  );
}

// A field is a list of byte pieces, joined once at the end, so that large initialisers are copied once.
type Pieces = Uint8Array[];

function nodeProto(node: ModelNode): Pieces[] {
  return [
    ...node.inputs.map((name) => text(1, name)),
    ...node.outputs.map((name) => text(2, name)),
    text(4, node.op),
    ...Object.entries(node.attributes).map(([name, value]) => message(5, attributeProto(name, value))),
    ...(node.domain ? [text(7, node.domain)] : []),
  ];
}

function attributeProto(name: string, value: Attribute): Pieces[] {
  if (typeof value === "number") return [text(1, name), integer(3, value), integer(20, attributeTypes.int)];
  if (typeof value === "string") return [text(1, name), text(4, value), integer(20, attributeTypes.string)];
  if ("float" in value) return [text(1, name), float(2, value.float), integer(20, attributeTypes.float)];
  return [text(1, name), ...value.map((item) => integer(8, item)), integer(20, attributeTypes.ints)];
}

function tensorProto(tensor: ModelInitialiser): Pieces[] {
  return [...tensor.shape.map((dim) => integer(1, dim)), integer(2, onnxDtypes[tensor.dtype]), text(8, tensor.name), bytes(9, tensor.bytes)];
}

function valueInfoProto(tensor: ModelTensor): Pieces[] {
  const shape = tensor.shape.map((dim) => message(1, [integer(1, dim)]));
  const tensorType = [integer(1, onnxDtypes[tensor.dtype]), message(2, shape)];
  return [text(1, tensor.name), message(2, [message(1, tensorType)])];
}

function varint(value: number | bigint): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 127n) {
    out.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  out.push(Number(rest));
  return out;
}

function integer(field: number, value: number | bigint): Pieces {
  return [Uint8Array.from([...varint(field * 8), ...varint(value)])];
}

function float(field: number, value: number): Pieces {
  return [Uint8Array.from(varint(field * 8 + 5)), new Uint8Array(Float32Array.of(value).buffer)];
}

function bytes(field: number, value: Uint8Array): Pieces {
  return [Uint8Array.from([...varint(field * 8 + 2), ...varint(value.length)]), value];
}

const encoder = new TextEncoder();
function text(field: number, value: string): Pieces {
  return bytes(field, encoder.encode(value));
}

function message(field: number, fields: readonly Pieces[]): Pieces {
  const pieces = fields.flat();
  const length = pieces.reduce((total, piece) => total + piece.length, 0);
  return [Uint8Array.from([...varint(field * 8 + 2), ...varint(length)]), ...pieces];
}

function join(pieces: Pieces): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(pieces.reduce((total, piece) => total + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    out.set(piece, offset);
    offset += piece.length;
  }
  return out;
}
