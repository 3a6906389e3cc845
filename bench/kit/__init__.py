"""What every figure needs: measuring, the other tools, and clean places."""
