export { armFaults, FAULT_POINTS, type FaultPoint, faultPoint } from './faults.js';
