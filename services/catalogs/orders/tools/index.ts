import {
  calculateTool,
  findUserIdByEmail,
  findUserIdByNameZip,
  getItemDetails,
  getOrderDetails,
  getProductDetails,
  getUserDetails,
  listAllProductTypes,
  transferToHumanAgents,
} from './reads.ts';
import {
  cancelPendingOrder,
  exchangeDeliveredOrderItems,
  modifyPendingOrderAddress,
  modifyPendingOrderItems,
  modifyPendingOrderPayment,
  modifyUserAddress,
  returnDeliveredOrderItems,
} from './writes.ts';

/** The tools of the orders catalog. */
export const ordersTools = [
  findUserIdByEmail,
  findUserIdByNameZip,
  getUserDetails,
  getOrderDetails,
  getProductDetails,
  getItemDetails,
  listAllProductTypes,
  calculateTool,
  transferToHumanAgents,
  cancelPendingOrder,
  modifyPendingOrderAddress,
  modifyUserAddress,
  modifyPendingOrderPayment,
  modifyPendingOrderItems,
  exchangeDeliveredOrderItems,
  returnDeliveredOrderItems,
];
