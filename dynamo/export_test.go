package dynamo

// CreateTable is the request by which Setup makes a table.
var CreateTable = createTable
