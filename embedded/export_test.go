package embedded

// SelectDue is the query that a sweep makes.
const SelectDue = selectDue
