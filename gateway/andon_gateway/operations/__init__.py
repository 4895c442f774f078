"""What an operator needs: metrics, health, logs."""
