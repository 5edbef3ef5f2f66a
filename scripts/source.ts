import { type Module, parseSync } from '@swc/core';

/** One import of a module, however it is written. */
export interface ImportReference {
  /** The literal, or null where the target of a dynamic import is computed. */
  specifier: string | null;
  /** The whole statement is `import type` or `export type`: nothing is loaded at run time. */
  typeOnly: boolean;
  line: number;
}

/** A place where a test is skipped or singled out, such as `test.only`. */
export interface TestModifier {
  text: string;
  line: number;
}

interface AstNode {
  type: string;
  [key: string]: unknown;
}

const TEST_NAMES = new Set(['it', 'test', 'describe']);
const TEST_MODIFIERS = new Set(['skip', 'only', 'todo', 'failing']);
const TEST_ALIASES = new Set(['xit', 'xtest', 'xdescribe', 'fit', 'fdescribe']);

/** Every import in a source file. Throws, naming the file, where it does not parse. */
export function importsOf(file: string, text: string): ImportReference[] {
  const found: ImportReference[] = [];
  const add = (specifier: string | null, typeOnly: boolean): void => {
    found.push({
      specifier,
      typeOnly,
      line: specifier === null ? lineOf(text, 'import(') : lineOf(text, `'${specifier}'`, `"${specifier}"`, specifier),
    });
  };
  visit(parse(file, text), (node) => {
    switch (node.type) {
      case 'ImportDeclaration':
      case 'ExportNamedDeclaration':
      case 'ExportAllDeclaration':
        if (isNode(node.source)) add(literalOf(node.source), node.typeOnly === true);
        break;
      case 'TsImportType':
        add(literalOf(node.argument), true);
        break;
      case 'TsExternalModuleReference':
        add(literalOf(node.expression), false);
        break;
      case 'CallExpression':
        if (isImportCall(node)) add(literalOf(firstArgument(node)), false);
        break;
    }
  });
  return found;
}

/** Every skipped, singled-out or postponed test in a source file. Throws where it does not parse. */
export function testModifiersOf(file: string, text: string): TestModifier[] {
  const found: TestModifier[] = [];
  visit(parse(file, text), (node) => {
    if (node.type === 'MemberExpression') {
      const root = rootName(node);
      const property = propertyName(node.property);
      if (root !== undefined && TEST_NAMES.has(root) && property !== undefined && TEST_MODIFIERS.has(property)) {
        found.push({ text: `${root}.${property}`, line: lineOf(text, `.${property}`, property) });
      }
    }
    if (node.type === 'CallExpression' && isNode(node.callee)) {
      const name = identifier(node.callee);
      if (name !== undefined && TEST_ALIASES.has(name))
        found.push({ text: name, line: lineOf(text, `${name}(`, name) });
    }
  });
  return found;
}

function parse(file: string, text: string): Module {
  try {
    return parseSync(text, { syntax: 'typescript', tsx: /\.[jt]sx$/.test(file), target: 'es2024' });
  } catch (error) {
    throw new Error(`${file} does not parse: ${String(error).slice(0, 500)}`, { cause: error });
  }
}

function visit(value: unknown, enter: (node: AstNode) => void): void {
  if (Array.isArray(value)) {
    for (const item of value) visit(item, enter);
  } else if (typeof value === 'object' && value !== null) {
    if (isNode(value)) enter(value);
    for (const child of Object.values(value)) visit(child, enter);
  }
}

function isNode(value: unknown): value is AstNode {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';
}

function isImportCall(node: AstNode): boolean {
  const callee = node.callee;
  if (!isNode(callee)) return false;
  if (callee.type === 'Import') return true;
  // A computed require is not looked at: the name may be anybody's function.
  return identifier(callee) === 'require' && literalOf(firstArgument(node)) !== null;
}

function firstArgument(call: AstNode): unknown {
  const [first] = call.arguments as { expression?: unknown }[];
  return first?.expression;
}

function literalOf(value: unknown): string | null {
  if (!isNode(value)) return null;
  if (value.type === 'StringLiteral') return String(value.value);
  const quasis = value.quasis;
  if (value.type !== 'TemplateLiteral' || !Array.isArray(quasis) || quasis.length !== 1) return null;
  return String((quasis[0] as { cooked?: unknown }).cooked);
}

function identifier(node: AstNode): string | undefined {
  return node.type === 'Identifier' ? String(node.value) : undefined;
}

function propertyName(value: unknown): string | undefined {
  if (!isNode(value)) return undefined;
  return identifier(value) ?? (value.type === 'Computed' ? (literalOf(value.expression) ?? undefined) : undefined);
}

/** The name a chain such as `test.concurrent.only` starts with. */
function rootName(node: AstNode): string | undefined {
  let current: unknown = node;
  while (isNode(current) && current.type === 'MemberExpression') current = current.object;
  return isNode(current) ? identifier(current) : undefined;
}

// The parser counts positions over all files it has seen, so the line is looked up in the text instead.
function lineOf(text: string, ...needles: string[]): number {
  const lines = text.split('\n');
  for (const needle of needles) {
    const index = lines.findIndex((line) => line.includes(needle));
    if (index >= 0) return index + 1;
  }
  return 1;
}
