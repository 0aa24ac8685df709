/** Workers listen on it for tasks that are due; the payload names their queues, divided by commas. */
export const TASK_CHANNEL = 'waybill_task';

/** Workers listen on it for the ids of tasks that are cancelled. */
export const CANCEL_CHANNEL = 'waybill_task_cancel';

/** Workers listen on it for the names of queues that are paused. */
export const PAUSE_CHANNEL = 'waybill_task_pause';
