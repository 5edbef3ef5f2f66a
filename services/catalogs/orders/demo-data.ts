import type { ShopData } from './seed.ts';
import type { Line, Option, Payment, PaymentMethod, Variant } from './tables.ts';

const options = (values: Readonly<Record<string, string>>): Option[] =>
  Object.entries(values).map(([name, value]) => ({ name, value }));
const variant = (
  item_id: string,
  price_cents: number,
  values: Readonly<Record<string, string>>,
  available = true,
): Variant => ({
  item_id,
  options: options(values),
  available,
  price_cents,
});

const LAMP = [
  variant('lamp-brass', 8_900, { finish: 'brass', cable: '2 m' }),
  variant('lamp-black', 7_900, { finish: 'black', cable: '2 m' }),
  variant('lamp-black-long', 8_400, { finish: 'black', cable: '5 m' }, false),
];
const KETTLE = [
  variant('kettle-1l', 4_550, { capacity: '1 l', colour: 'steel' }),
  variant('kettle-17l', 5_250, { capacity: '1.7 l', colour: 'steel' }),
];
const BACKPACK = [
  variant('pack-20', 6_400, { size: '20 l', colour: 'green' }),
  variant('pack-30', 7_700, { size: '30 l', colour: 'green' }),
];

const PRODUCTS = [
  { product_id: 'p-lamp', name: 'Desk Lamp', variants: LAMP },
  { product_id: 'p-kettle', name: 'Kettle', variants: KETTLE },
  { product_id: 'p-pack', name: 'Backpack', variants: BACKPACK },
];

const line = (name: string, product_id: string, { item_id, price_cents, options }: Variant): Line => ({
  name,
  product_id,
  item_id,
  price_cents,
  options,
});
const paid = (payment_method_id: string, items: readonly Line[]): Payment[] => [
  {
    transaction_type: 'payment',
    amount_cents: items.reduce((sum, { price_cents }) => sum + price_cents, 0),
    payment_method_id,
  },
];
const card = (id: string, brand: string, last_four: string): PaymentMethod => ({
  id,
  source: 'credit_card',
  brand,
  last_four,
  balance_cents: null,
});
const gift = (id: string, balance_cents: number): PaymentMethod => ({
  id,
  source: 'gift_card',
  brand: null,
  last_four: null,
  balance_cents,
});

const HOME = {
  address1: '4 Quay Street',
  address2: '',
  city: 'Bristol',
  country: 'UK',
  state: 'England',
  zip: 'BS1 4ER',
};
const MILL = {
  address1: '18 Mill Lane',
  address2: 'Flat 2',
  city: 'Leeds',
  country: 'UK',
  state: 'England',
  zip: 'LS2 8JT',
};

const [BRASS, BLACK] = LAMP as [Variant, Variant];
const [SMALL, LARGE] = KETTLE as [Variant, Variant];
const [PACK] = BACKPACK as [Variant];
const DESK = [line('Desk Lamp', 'p-lamp', BRASS), line('Kettle', 'p-kettle', SMALL)];
const KITCHEN = [line('Kettle', 'p-kettle', LARGE), line('Kettle', 'p-kettle', LARGE)];
const TRIP = [line('Backpack', 'p-pack', PACK), line('Desk Lamp', 'p-lamp', BLACK)];

const order = (
  order_id: string,
  user_id: string,
  address: typeof HOME,
  status: 'pending' | 'delivered',
  items: Line[],
  by: string,
) => ({
  order_id,
  user_id,
  address,
  status,
  items,
  fulfillments:
    status === 'delivered'
      ? [{ tracking_id: [`T${order_id.slice(2)}`], item_ids: items.map(({ item_id }) => item_id) }]
      : [],
  payment_history: paid(by, items),
});

/** A small shop: two customers, three products, three orders. */
export const DEMO_SHOP: ShopData = {
  products: PRODUCTS,
  customers: [
    {
      user_id: 'mira_holt_1',
      first_name: 'Mira',
      last_name: 'Holt',
      email: 'mira.holt@shop.example',
      address: HOME,
      payment_methods: [card('card_mira', 'visa', '4242'), gift('gift_mira', 10_000)],
      orders: ['#W1000001', '#W1000002'],
    },
    {
      user_id: 'tomas_berg_2',
      first_name: 'Tomas',
      last_name: 'Berg',
      email: 'tomas.berg@shop.example',
      address: MILL,
      payment_methods: [
        { id: 'paypal_tomas', source: 'paypal', brand: null, last_four: null, balance_cents: null },
        gift('gift_tomas', 500),
      ],
      orders: ['#W1000003'],
    },
  ],
  orders: [
    order('#W1000001', 'mira_holt_1', HOME, 'pending', DESK, 'gift_mira'),
    order('#W1000002', 'mira_holt_1', HOME, 'delivered', KITCHEN, 'card_mira'),
    order('#W1000003', 'tomas_berg_2', MILL, 'delivered', TRIP, 'paypal_tomas'),
  ],
};
