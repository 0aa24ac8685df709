export { DatabaseModule } from './database.module.js';
export { createDataSource } from './data-source.js';
export { migrate } from './migrate.js';
