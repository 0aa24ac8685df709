/** Everybody's who signs up or logs in here. */
export const PASSWORD = 'correct horse battery';
