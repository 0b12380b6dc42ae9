/* A shared object that is no objective. */
const int sluice_objection = 1;
