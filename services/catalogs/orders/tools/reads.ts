import { sql } from 'kysely';
import { z } from 'zod';
import { refuse } from '#catalog-kit/refusal.ts';
import { calculate, ExpressionError, MAX_EXPRESSION } from '../expression.ts';
import { defineTool, itemId, order, orderId, product, productId, READ, user, userId, variant } from '../schemas.ts';
import { requireOrder, requireUser } from '../store.ts';

const said = z.strictObject({ text: z.string() });
const found = z.strictObject({ user_id: z.string() });

export const findUserIdByEmail = defineTool({
  ...READ,
  effect: 'none',
  name: 'find_user_id_by_email',
  description: 'The id of the customer with an e-mail address, whatever its case.',
  input: z.strictObject({ email: z.string().max(320) }),
  output: found,
  async execute(ctx, { email }) {
    const row = await ctx.db
      .selectFrom('customers')
      .select('user_id')
      .where(sql`lower(email)`, '=', email.toLowerCase())
      .executeTakeFirst();
    if (row === undefined) throw refuse('USER_NOT_FOUND', 'There is no customer with this e-mail address.');
    ctx.requireResource(`customer/${row.user_id}`);
    return row;
  },
});

export const findUserIdByNameZip = defineTool({
  ...READ,
  effect: 'none',
  name: 'find_user_id_by_name_zip',
  description:
    'The id of the customer with a first name, a last name and a zip code. Names are found whatever their case.',
  input: z.strictObject({ first_name: z.string().max(100), last_name: z.string().max(100), zip: z.string().max(20) }),
  output: found,
  async execute(ctx, { first_name, last_name, zip }) {
    const row = await ctx.db
      .selectFrom('customers')
      .select('user_id')
      .where(sql`lower(last_name)`, '=', last_name.toLowerCase())
      .where(sql`lower(first_name)`, '=', first_name.toLowerCase())
      .where(sql`address ->> 'zip'`, '=', zip)
      .orderBy('user_id')
      .executeTakeFirst();
    if (row === undefined) throw refuse('USER_NOT_FOUND', 'There is no customer of this name and zip code.');
    ctx.requireResource(`customer/${row.user_id}`);
    return row;
  },
});

export const getUserDetails = defineTool({
  ...READ,
  effect: 'none',
  name: 'get_user_details',
  description: 'A customer: name, address, e-mail address, payment methods and order ids.',
  input: z.strictObject({ user_id: userId }),
  output: z.strictObject({ user }),
  async execute(ctx, { user_id }) {
    return { user: await requireUser(ctx, user_id) };
  },
});

export const getOrderDetails = defineTool({
  ...READ,
  effect: 'none',
  name: 'get_order_details',
  description: 'An order: status, address, lines, fulfilments and payments. Money is in cents.',
  input: z.strictObject({ order_id: orderId }),
  output: z.strictObject({ order }),
  async execute(ctx, { order_id }) {
    return { order: await requireOrder(ctx, order_id) };
  },
});

export const getProductDetails = defineTool({
  ...READ,
  effect: 'none',
  name: 'get_product_details',
  description: 'A product with all its variants: options, price in cents, and whether each is available.',
  input: z.strictObject({ product_id: productId }),
  output: z.strictObject({ product }),
  async execute(ctx, { product_id }) {
    const row = await ctx.db
      .selectFrom('products')
      .select(['product_id', 'name', 'variants'])
      .where('product_id', '=', product_id)
      .executeTakeFirst();
    if (row === undefined) {
      throw refuse('PRODUCT_NOT_FOUND', `There is no product ${product_id}. An item id is no product id.`);
    }
    return { product: row };
  },
});

export const getItemDetails = defineTool({
  ...READ,
  effect: 'none',
  name: 'get_item_details',
  description: 'One variant of a product: options, price in cents, and whether it is available.',
  input: z.strictObject({ item_id: itemId }),
  output: z.strictObject({ item: variant }),
  async execute(ctx, { item_id }) {
    const row = await ctx.db
      .selectFrom('products')
      .select('variants')
      .where(sql<boolean>`variants @> ${JSON.stringify([{ item_id }])}::jsonb`)
      .executeTakeFirst();
    const item = row?.variants.find((one) => one.item_id === item_id);
    if (item === undefined) throw refuse('ITEM_NOT_FOUND', `There is no item ${item_id}.`);
    return { item };
  },
});

export const listAllProductTypes = defineTool({
  ...READ,
  effect: 'none',
  name: 'list_all_product_types',
  description: 'All products as a JSON object from name to product id.',
  input: z.strictObject({}),
  output: said,
  async execute(ctx) {
    const rows = await ctx.db.selectFrom('products').select(['name', 'product_id']).limit(10_000).execute();
    const pairs = rows
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, product_id }) => `${JSON.stringify(name)}: ${JSON.stringify(product_id)}`);
    return { text: `{${pairs.join(', ')}}` };
  },
});

export const calculateTool = defineTool({
  ...READ,
  effect: 'none',
  name: 'calculate',
  labels: [],
  description: 'The value of an expression of numbers, + - * / and parentheses, rounded to two decimals.',
  input: z.strictObject({ expression: z.string().max(MAX_EXPRESSION) }),
  output: said,
  async execute(_ctx, { expression }) {
    try {
      return { text: calculate(expression) };
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      throw refuse('INVALID_EXPRESSION', `Not an expression: ${error.message}.`);
    }
  },
});

export const transferToHumanAgents = defineTool({
  ...READ,
  effect: 'none',
  name: 'transfer_to_human_agents',
  labels: [],
  description: 'Says that a person takes over, with a summary of the matter. Changes nothing; end the run after it.',
  input: z.strictObject({ summary: z.string().max(4_000) }),
  output: said,
  async execute() {
    return { text: 'Transfer successful' };
  },
});
