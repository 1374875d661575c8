"""The panel's sections: widgets, no arithmetic."""
