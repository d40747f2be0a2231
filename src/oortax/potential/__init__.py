"""potential"""
