export { TaskTestKit, TasksTestingModule } from './task-test-kit.js';
